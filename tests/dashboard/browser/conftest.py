"""For each file a browser and one site of each app; tests of a file share a tab where they can."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.dashboard.browser.chromium import WIDE, Tab, chromium
from tests.dashboard.browser.sites import APPS, STORE, Site, fill, site

Open = Callable[..., Tab]

USUAL: dict[str, Any] = {"viewport": WIDE, "reduced_motion": "reduce", "color_scheme": "light"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # As long as it is there an event loop runs in this thread, in which asynchronous tests cannot have theirs.
    with chromium() as launched:
        yield launched


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a ledger with some weeks of calls, to be copied."""
    directory = tmp_path_factory.mktemp("prepared")
    fill(directory, days=40, calls=400)
    return directory / STORE


@pytest.fixture(scope="module", params=APPS)
def served(request: pytest.FixtureRequest, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Each of the example apps, with a ledger of its own."""
    directory = tmp_path_factory.mktemp("site")
    shutil.copy(prepared, directory)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
            patch.setenv(name, "not-asked")
        # A browser without a session is alice, an operator: headers of ours would not go with a download.
        patch.setenv("DEV", "1")
        with site(request.param, directory) as made:
            yield made


@pytest.fixture(scope="module")
def shared(browser: Browser, served: Site) -> Iterator[Tab]:
    """A tab that the tests of a file use one after the other; what it keeps is the cookie of the forms."""
    context = browser.new_context(**USUAL)
    context.set_default_timeout(15_000)
    yield Tab(context.new_page(), served.url)
    context.close()


@pytest.fixture
def tab(browser: Browser, served: Site, shared: Tab) -> Iterator[Open]:
    """Gives the shared tab, or with options one in a profile of its own (`alone=True`: with no other options).
    Whatever goes wrong in one of them fails the test."""
    with ExitStack() as stack:
        opened: list[Tab] = [shared]

        def open_tab(*, alone: bool = False, **options: Any) -> Tab:
            if not alone and not options:
                return shared
            context = browser.new_context(**{**USUAL, **options})
            stack.callback(context.close)
            context.set_default_timeout(15_000)
            made = Tab(context.new_page(), served.url)
            opened.append(made)
            return made

        try:
            yield open_tab
            assert not [each for one in opened for each in one.wrong]
        finally:
            shared.wrong.clear()
