"""Chromium, driven by Playwright, and what went wrong in its pages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--renderer-process-limit=1",
    "--disable-software-rasterizer", "--disable-gpu-compositing",
)  # fmt: skip

AXE = Path(__file__).parents[1] / "axe" / "axe.min.js"
WIDE = {"width": 1360, "height": 900}
PHONE = {"width": 390, "height": 800}


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser. Fails, with the line to install it, where there is none."""
    path = CHROMIUM if Path(CHROMIUM).exists() else shutil.which("chromium")
    if path is None:
        pytest.fail(f"the tests of the dashboard need a browser at {CHROMIUM}: apt-get install -y chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass(eq=False)
class Tab:
    """A page of the browser, and everything that went wrong in it: errors of scripts, violations of the policy,
    dialogs, what could not be loaded, requests to other hosts."""

    page: Page
    url: str
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: (self.wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        self.page.on("request", self._asked)

    def go(self, path: str = "", *, drawn: bool = True) -> Page:
        """Open a page below the mount, and wait until its charts are drawn."""
        answer = self.page.goto(f"{self.url}/{path}")
        assert answer is not None
        assert answer.status == 200, f"{path}: {answer.status}"
        if drawn:
            self.drawn()
        return self.page

    def drawn(self) -> None:
        expect(self.page.locator("[data-chart]:not([data-drawn])")).to_have_count(0, timeout=15_000)

    def ask_for_news(self) -> None:
        """Now, not at the next of the moments at which the page asks by itself."""
        expect(self.page.locator("#live-state")).to_have_attribute("data-state", "on")
        self.page.evaluate("document.dispatchEvent(new Event('costguard:ask'))")

    def query(self) -> dict[str, str]:
        """Of the address of the page."""
        return dict(self.page.evaluate("[...new URL(location.href).searchParams]"))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(f"console: {message.text} at {message.location.get('url', '')}")

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.url, "data:")):
            self.wrong.append(f"request: {request.url}")


OF_COLOURS = ("color-contrast", "link-in-text-block")
"""The rules of axe that find another thing where only the colours are others."""


def serious(page: Page, rules: Sequence[str] = ()) -> list[str]:
    """What axe finds on the page as it stands, of the impacts serious and critical; with these rules, or with all."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(_axe())
    options = {"resultTypes": ["violations"], **({"runOnly": list(rules)} if rules else {})}
    found = page.evaluate("options => axe.run(document, options)", options)
    return [
        f"{each['impact']} {each['id']}: {each['help']}: {node['html'][:200]}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"][:3]
    ]


@cache
def _axe() -> str:
    return AXE.read_text("utf-8")
