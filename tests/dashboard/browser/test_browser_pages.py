"""Every page, in both apps: drawn, live, linked, and with its state in the address."""

from __future__ import annotations

import csv
import re
from io import StringIO
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.dashboard.browser.chromium import PHONE, WIDE
from tests.dashboard.browser.conftest import Open
from tests.dashboard.browser.sites import ONE, VIEWER, Site

pytestmark = pytest.mark.long

PAGES = {
    "": "Overview", "explore": "Explore", "calls": "Calls", "budgets": "Budgets", "alerts": "Alerts",
    "prices": "Prices",
}  # fmt: skip


def test_every_page_is_reached_from_every_other_by_the_navigation(tab: Open) -> None:
    page = (one := tab()).go()
    for path, title in PAGES.items():
        page.get_by_role("navigation", name="Pages").get_by_role("link", name=title).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(title)
        expect(page.get_by_role("navigation", name="Pages").locator("[aria-current=page]")).to_have_text(title)
        assert page.url == f"{one.url}/{path}"
        assert page.title().startswith(title)


@ONE
def test_a_chart_is_drawn_from_the_table_beside_it(tab: Open) -> None:
    page = tab().go("explore?since=7d")
    painted = page.evaluate(
        """() => { const canvas = document.querySelector('.chart canvas');
        const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        const colours = new Set();
        for (let at = 0; at < pixels.length; at += 4) if (pixels[at + 3] > 250) colours.add(
            [pixels[at], pixels[at + 1], pixels[at + 2]].join());
        return [...colours] }"""
    )
    assert "44,128,116" in painted, "the colour of the dearest model is on the canvas"
    page.get_by_text("The chart as a table").click()
    table = page.get_by_role("table", name="Cost by day")
    assert table.get_by_role("row").count() == 8, "a heading, and seven days with today"
    assert "The numbers are in the table below" in (page.locator(".chart").get_attribute("aria-label") or "")


@ONE
def test_what_the_mouse_points_at_is_told_with_its_parts(tab: Open) -> None:
    page = tab().go("?since=7d&by=provider")
    page.locator(".chart .u-over").hover()
    tip = page.locator(".tip")
    expect(tip).to_be_visible()
    assert "openai" in tip.inner_text()


@ONE
def test_a_part_of_the_chart_that_is_drawn_over_becomes_the_time(tab: Open) -> None:
    page = (one := tab()).go("explore")
    box = page.locator(".chart .u-over").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 60, steps=5)
    with page.expect_navigation():
        page.mouse.up()
    assert {"since", "until"} <= set(one.query())
    expect(page.get_by_role("navigation", name="Time").locator("[aria-current]")).to_have_count(0)


def test_each_choice_is_in_the_address_and_the_back_button_undoes_it(tab: Open) -> None:
    page = (one := tab()).go("explore")
    page.get_by_role("link", name="7 days").click()
    page.get_by_role("link", name="Tokens", exact=True).click()
    page.get_by_text("Break down by model").click()
    page.locator("details[open]").get_by_role("link", name="feature").click()
    expect(page.get_by_role("heading", name="By feature")).to_be_visible()
    assert one.query() == {"since": "7d", "show": "tokens", "by": "feature"}
    address = page.url
    page.go_back()
    expect(page.get_by_role("heading", name="By model")).to_be_visible()
    other = tab(alone=True).page
    other.goto(address)
    expect(other.get_by_role("heading", name="By feature")).to_be_visible()


def test_from_the_total_down_to_the_receipt_of_one_call(tab: Open) -> None:
    page = (one := tab()).go()
    users = page.get_by_role("region", name="Top users")
    user = users.get_by_role("listitem").first.get_by_role("link").inner_text()
    users.get_by_role("link", name=user).click()
    assert one.query()["where.user"] == user
    page.get_by_role("link", name="Calls of these").click()
    page.get_by_role("link", name="Dearest").click()
    row = page.get_by_role("table").get_by_role("row").nth(1)
    assert user in row.inner_text()
    row.get_by_role("rowheader").get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Receipt")
    expect(page.get_by_role("rowheader", name="Cost", exact=True)).to_be_visible()
    page.locator("dd").get_by_role("link", name=user, exact=True).click()
    expect(page.get_by_role("list", name="Filters")).to_contain_text(f"user: {user}")


def test_filters_are_added_by_a_form_and_taken_away_by_their_cross(tab: Open) -> None:
    page = (one := tab()).go("calls")
    everything = page.get_by_role("heading", level=2).inner_text()
    page.get_by_text("Add filter").click()
    page.get_by_label("Name").select_option("feature")
    page.get_by_label("Value").fill("chat")
    page.get_by_role("button", name="Add").click()
    chips = page.get_by_role("list", name="Filters")
    expect(chips).to_contain_text("feature: chat")
    assert page.get_by_role("heading", level=2).inner_text() != everything
    chips.get_by_role("link", name="Take away the filter feature: chat").click()
    expect(page.get_by_role("heading", level=2)).to_have_text(everything)
    assert "where.feature" not in one.query()


def test_pages_of_calls_follow_each_other_without_a_gap(tab: Open) -> None:
    page = tab().go("calls?order=dearest")
    receipts = "() => [...document.querySelectorAll('td a.mono')].map(link => link.title)"
    first = page.evaluate(receipts)
    page.get_by_role("link", name="Next").click()
    expect(page.get_by_role("link", name="To the first page")).to_be_visible()
    second = page.evaluate(receipts)
    assert len(first) == len(second) == 50
    assert not set(first) & set(second)
    page.get_by_role("link", name="To the first page").click()
    expect(page.get_by_role("link", name="To the first page")).to_have_count(0)
    assert page.evaluate(receipts) == first


def test_a_call_is_found_by_its_id(tab: Open, served: Site) -> None:
    call_id = served.call("0.25", user="searched", feature="chat")
    page = tab().go("calls")
    page.keyboard.press("/")
    page.keyboard.type(call_id)
    page.keyboard.press("Enter")
    expect(page.get_by_role("table").get_by_role("row")).to_have_count(2)
    expect(page.get_by_role("table")).to_contain_text("searched")


def test_a_new_call_is_shown_without_reloading(tab: Open, served: Site) -> None:
    page = (one := tab()).go("?by=user&since=24h")
    one.ask_for_news()
    page.evaluate("window.stayed = true")
    page.get_by_text("The chart as a table").click()
    served.call("77.00", user="newcomer", feature="chat")
    expect(page.get_by_role("region", name="Top users")).to_contain_text("newcomer", timeout=20_000)
    # A page is read by several queries: a call that comes in between is in all of its parts with the news after.
    expect(page.locator("#spend-data .legend")).to_contain_text("newcomer", timeout=20_000)
    expect(page.locator("#news")).to_contain_text("spent, the last 24 hours")
    assert page.evaluate("window.stayed") is True
    assert page.locator("details.as-table").get_attribute("open") is not None, "what was opened stays open"


@ONE
def test_a_session_that_has_ended_is_said_where_the_app_sends_people_to_a_sign_in(tab: Open) -> None:
    page = (one := tab(alone=True)).go("alerts")
    page.route("**/api/pulse", lambda route: route.fulfill(status=303, headers={"location": f"{one.url}/prices"}))
    one.ask_for_news()
    expect(page.locator("#live-state")).to_have_text("Signed out")


def test_every_table_can_be_had_as_csv(tab: Open) -> None:
    one = tab()
    for path in (*PAGES, "budgets?budget=", "explore?by=user,feature"):
        page = one.go(path.removesuffix("?budget="))
        links = page.get_by_role("link", name="CSV").all()
        assert links, path
        for place in range(len(links)):
            with page.expect_download() as download:
                page.get_by_role("link", name="CSV").nth(place).evaluate("link => link.click()")
            text = Path(download.value.path()).read_text("utf-8-sig")
            assert next(csv.reader(StringIO(text))), download.value.suggested_filename
            assert download.value.suggested_filename.endswith(".csv")


@ONE
@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_no_wider_than_a_phone(tab: Open, path: str) -> None:
    page = (one := tab()).page
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    try:
        one.go(path)
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    finally:
        page.set_viewport_size(WIDE)  # type: ignore[arg-type]


@ONE
def test_a_page_says_everything_without_its_scripts(tab: Open) -> None:
    page = (one := tab(java_script_enabled=False)).page
    for path, title in PAGES.items():
        page.goto(f"{one.url}/{path}")
        expect(page.get_by_role("heading", level=1)).to_have_text(title)
        if path in ("", "explore"):
            page.get_by_text("The chart as a table").click()
            expect(page.get_by_role("table").first).to_be_visible()


@ONE
def test_the_switch_turns_the_page_dark_and_stays(tab: Open) -> None:
    page = (one := tab(alone=True)).go()
    background = "getComputedStyle(document.querySelector('.card')).backgroundColor"
    assert page.evaluate(background) == "rgb(255, 255, 255)"
    page.get_by_role("button", name="Dark").click()
    assert page.evaluate(background) == "rgb(25, 28, 31)"
    one.go("explore")
    assert page.evaluate(background) == "rgb(25, 28, 31)"
    page.get_by_role("button", name="Dark").click()
    assert page.evaluate(background) == "rgb(255, 255, 255)"


@ONE
def test_the_system_s_dark_is_followed(tab: Open) -> None:
    page = tab(color_scheme="dark").go()
    assert page.evaluate("getComputedStyle(document.querySelector('.card')).backgroundColor") == "rgb(25, 28, 31)"
    expect(page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "true")


def test_a_viewer_is_shown_no_form_that_changes_anything(tab: Open) -> None:
    one = tab(extra_http_headers=VIEWER)
    for path in ("budgets", "budgets?do=set", "alerts", "alerts?do=mute"):
        assert one.go(path).locator("form[method=post]").count() == 0
    expect(one.page.get_by_role("link", name=re.compile("^Mute( |$)"))).to_have_count(0)
