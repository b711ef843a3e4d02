"""Values that a user of the app chose to harm: shown as text, everywhere."""

from __future__ import annotations

import csv
from io import StringIO
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.dashboard.browser.conftest import Open
from tests.dashboard.browser.sites import ONE, Site

pytestmark = pytest.mark.long

HOSTILE = {
    "script": "<script>window.harmed = 1; alert(1)</script>",
    "attribute": '"\'><img src=x onerror="window.harmed = 1">',
    "address": "javascript:window.harmed=1",
    "long": "W" * 200,
    "right to left": "\u202ecitats\u2066",
    "control": "a\x07b\x1b[31mc\x0bd",
    "formula": '=HYPERLINK("http://evil.test","x")',
    "template": "{{ 7 * 7 }}{% raw %}",
    "path": "../../static/app.js?x=1#y&where.user=z",
}


@pytest.fixture(scope="module")
def harmed(served: Site) -> Site:
    for value in HOSTILE.values():
        served.call("90.00", user=value, feature=value, model=value[:120])
        served.guard.ledger.entries({"user": value}, limit=1)
    return served


@pytest.mark.parametrize(
    "path",
    ["?by=user", "explore?by=user,feature&since=24h", "explore?by=model", "calls", "budgets", "alerts", "prices"],
)
def test_a_page_shows_them_as_text(tab: Open, harmed: Site, path: str) -> None:
    one = tab()
    page = one.go(path)
    assert page.evaluate("window.harmed") is None
    text = page.evaluate("document.body.textContent")
    if path.startswith(("explore", "calls", "?")):
        assert HOSTILE["script"][:20] in text
    assert "\u202e" not in text
    assert "\x1b" not in text
    assert page.locator("main img, main script").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    page.mouse.move(700, 400)


@ONE
@pytest.mark.parametrize("name", HOSTILE)
def test_a_filter_by_one_finds_its_calls_and_nothing_else(tab: Open, harmed: Site, name: str) -> None:
    one = tab()
    page = one.go("explore?by=user&since=24h", drawn=False)
    shown = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in HOSTILE[name])
    page.get_by_role("region", name="Spend by user").get_by_role("link", name=shown, exact=True).first.click()
    assert one.query()["where.user"] == HOSTILE[name].strip()
    expect(page.get_by_role("list", name="Filters")).to_contain_text(shown)
    page.get_by_role("link", name="Calls of these").click()
    expect(page.get_by_role("heading", level=2)).to_contain_text("1 call, $90.00")
    page.get_by_role("table").get_by_role("link").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Receipt")
    assert page.evaluate("window.harmed") is None


def test_a_spreadsheet_is_given_no_formula(tab: Open, harmed: Site) -> None:
    page = tab().go("explore?by=user&since=24h")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV of Spend by user").click()
    cells = [cell for row in csv.reader(StringIO(Path(download.value.path()).read_text("utf-8-sig"))) for cell in row]
    assert any("HYPERLINK" in cell for cell in cells)
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@", "\t", "\r"))]


def test_names_in_the_address_are_shown_as_text(tab: Open, served: Site) -> None:
    page = tab().go("calls?where.user=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E")
    expect(page.get_by_role("list", name="Filters")).to_contain_text("<img src=x onerror=alert(1)>")
    expect(page.locator("main")).to_contain_text("Take a filter away")
