"""Pictures of every page, light and dark, for the docs: looked at by a person when they change.

python -m tests.dashboard.screenshots [docs/screenshots]
"""

from __future__ import annotations

import os
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from examples.realistic import BUDGETS
from playwright.sync_api import Browser, Page, expect

from costguard.budgets import Budget
from tests.dashboard.browser.chromium import PHONE, chromium
from tests.dashboard.browser.sites import Site, fill, site

MOST_BYTES = 200_000
PATIENCE = 90_000
"""Milliseconds: a busy machine takes its time."""

SCHEMES = ("light", "dark")
SHOWN = {"width": 1280, "height": 820}

PAGES = {
    "overview": "",
    "explore": "explore?by=feature&show=cost",
    "drill-down": "explore?by=user&where.feature=agent",
    "calls": "calls?order=dearest",
    "budgets": "budgets",
    "alerts": "alerts",
    "prices": "prices",
}


def main() -> None:
    into = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/screenshots").resolve()
    into.mkdir(parents=True, exist_ok=True)
    os.environ.update(OPENAI_API_KEY="not-asked", ANTHROPIC_API_KEY="not-asked", DEV="1")
    with _elsewhere():
        fill(Path(), days=60, calls=20_000)
        with site("fastapi", Path()) as served, chromium() as browser:
            _a_day_s_work(served)
            for scheme in SCHEMES:
                _take(browser, served, scheme, into)
    for path in sorted(into.glob("*.png")):
        path.write_bytes(_smaller(path.read_bytes()))
        size = path.stat().st_size
        assert size < MOST_BYTES, f"{path.name} has {size:,} bytes, and may have {MOST_BYTES:,}"
        print(f"{path.name:28} {size:8,} bytes")


def _take(browser: Browser, served: Site, scheme: str, into: Path) -> None:
    settings = {"color_scheme": scheme, "reduced_motion": "reduce"}
    wide = browser.new_context(viewport=SHOWN, **settings)  # type: ignore[arg-type]
    wide.set_default_timeout(PATIENCE)
    page = wide.new_page()
    for name, path in PAGES.items():
        _go(page, served, path)
        page.screenshot(path=into / f"{name}-{scheme}.png")
    page.goto(f"{served.url}/calls?order=dearest")
    page.get_by_role("rowheader").get_by_role("link").first.click()
    page.screenshot(path=into / f"receipt-{scheme}.png")
    wide.close()
    phone = browser.new_context(viewport=PHONE, device_scale_factor=2, **settings)  # type: ignore[arg-type]
    phone.set_default_timeout(PATIENCE)
    page = phone.new_page()
    _go(page, served, "")
    page.screenshot(path=into / f"phone-{scheme}.png")
    phone.close()


def _go(page: Page, served: Site, path: str) -> None:
    page.goto(f"{served.url}/{path}")
    expect(page.locator("[data-chart]:not([data-drawn])")).to_have_count(0, timeout=15_000)
    expect(page.locator("#live-state")).to_have_attribute("data-state", "on", timeout=30_000)


def _a_day_s_work(served: Site) -> None:
    """What an operator would have done on the pages: a budget that only observes, and a grant."""
    from costguard.grants import Grant
    from costguard.ledger.deeds import Deed
    from costguard.ledger.rulings import add_grant, set_budget

    ledger, now = served.guard.ledger, time.time_ns()
    why = Deed(uuid4().hex, now, "alice", "budget", "to see what a limit would refuse")
    set_budget(ledger, replace(Budget.parse(BUDGETS[-1]), observe=True), why)
    team = next(budget for budget in served.guard.budgets if budget.per == ("team",))
    grant = Grant(
        team.account, (("team", "sales"),), Decimal(20), at_ns=now, author="alice",
        reason="the fair in December",
    )  # fmt: skip
    add_grant(ledger, grant, Deed(uuid4().hex, now, "alice", "grant", grant.reason))


def _smaller(png: bytes) -> bytes:
    """The same picture, compressed as well as zlib can: browsers do it quickly (PNG, section 10)."""
    chunks, at, data = [], 8, b""
    while at < len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        kind, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        at += length + 12
        if kind == b"IDAT":
            data += body
        elif kind in (b"IHDR", b"PLTE", b"tRNS", b"IEND"):
            chunks.append((kind, body))
    chunks.insert(-1, (b"IDAT", zlib.compress(zlib.decompress(data), 9)))
    parts = [
        len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big") for kind, body in chunks
    ]
    return png[:8] + b"".join(parts)


@contextmanager
def _elsewhere() -> Iterator[None]:
    """In a directory that is gone afterwards: the pages show the address of the store."""
    before = Path.cwd()
    with TemporaryDirectory() as directory:
        os.chdir(directory)
        try:
            yield
        finally:
            os.chdir(before)


if __name__ == "__main__":
    main()
