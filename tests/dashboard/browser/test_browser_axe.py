"""The pages for people who do not see them, or have no mouse."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.dashboard.browser.chromium import OF_COLOURS, PHONE, Tab, serious
from tests.dashboard.browser.conftest import Open
from tests.dashboard.browser.sites import ONE, Site

pytestmark = [pytest.mark.long, ONE]

EVERY = ("", "?by=user&since=24h", "explore", "explore?by=user,feature&where.model=gpt-4o", "calls",
         "calls?where.user=nobody-at-all", "budgets", "budgets?do=set", "alerts", "alerts?do=mute", "alerts?preview=7d",
         "prices")  # fmt: skip


@pytest.mark.parametrize("path", EVERY)
def test_axe_has_nothing_serious_to_say_of_a_page_light_or_dark(tab: Open, path: str) -> None:
    nothing_serious(tab(), path)


def test_axe_has_nothing_serious_to_say_of_a_receipt_light_or_dark(tab: Open) -> None:
    page = (one := tab()).go("calls")
    receipt = page.get_by_role("table").get_by_role("link").first.get_attribute("href")
    assert receipt is not None
    nothing_serious(one, receipt.removeprefix("./"))
    expect(page.get_by_role("heading", level=1)).to_have_text("Receipt")


def nothing_serious(one: Tab, path: str) -> None:
    page = one.go(path)
    assert not serious(page)
    page.emulate_media(color_scheme="dark")
    try:
        expect(page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "true")
        assert not serious(page, OF_COLOURS)
    finally:
        page.emulate_media(color_scheme="light")


def test_axe_has_nothing_serious_to_say_of_what_is_opened(tab: Open) -> None:
    page = tab(viewport=PHONE).go("explore")
    page.get_by_text("The chart as a table").click()
    page.get_by_text("Add filter").click()
    assert not serious(page)


def focused(page: Page) -> str:
    """What has the focus, as it is read out."""
    said = page.evaluate(
        "(document.activeElement.getAttribute('aria-label') || document.activeElement.innerText || '').trim()"
    )
    return str(said)


def press_until(page: Page, key: str, wanted: str, most: int = 60) -> None:
    for _ in range(most):
        page.keyboard.press(key)
        if focused(page).startswith(wanted):
            return
    raise AssertionError(f"{wanted!r} is not reached with {key}; the focus is at {focused(page)!r}")


def test_the_dashboard_is_walked_through_with_the_keyboard_alone(tab: Open) -> None:
    page = (one := tab()).go()
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    press_until(page, "Tab", "7 days")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Spent, the last 7 days")).to_be_visible()
    press_until(page, "Tab", "Explore")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Explore")
    press_until(page, "Tab", "Add filter")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("feature")
    page.keyboard.press("Tab")
    page.keyboard.type("chat")
    page.keyboard.press("Enter")
    expect(page.get_by_role("list", name="Filters")).to_contain_text("feature: chat")
    press_until(page, "Tab", "Take away the filter feature: chat")
    page.keyboard.press("Enter")
    expect(page.get_by_role("list", name="Filters")).to_have_count(0)
    assert "where.feature" not in one.query()


def test_escape_closes_a_menu_and_gives_the_focus_back(tab: Open) -> None:
    page = tab().go("explore")
    press_until(page, "Tab", "Add filter")
    page.keyboard.press("Space")
    expect(page.get_by_label("Value")).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Escape")
    expect(page.get_by_label("Value")).to_be_hidden()
    assert focused(page) == "Add filter"


def test_what_has_the_focus_is_seen(tab: Open) -> None:
    page = tab().go()
    for _ in range(25):
        page.keyboard.press("Tab")
        ring = page.evaluate(
            "(() => { const style = getComputedStyle(document.activeElement);"
            " return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2 })()"
        )
        assert ring, focused(page)


def test_the_focus_stays_where_it_is_when_news_come(tab: Open, served: Site) -> None:
    page = (one := tab()).go("calls")
    page.get_by_role("link", name=re.compile("^CSV of")).focus()
    one.ask_for_news()
    call_id = served.call("0.10", user="newest", feature="chat")
    one.ask_for_news()
    expect(page.get_by_role("table")).to_contain_text(call_id[-8:], timeout=20_000)
    assert focused(page).startswith("CSV")
