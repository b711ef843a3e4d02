"""What an operator does on the pages of budgets and alerts: done, said, and written down with author and reason."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.dashboard.browser.conftest import Open
from tests.dashboard.browser.sites import Site

pytestmark = pytest.mark.long


def send(page: Page, label: str, reason: str, **fields: str) -> None:
    """Fill in the form of a change by the labels of its fields, and send it."""
    form = page.locator("form[method=post]")
    for name, value in fields.items():
        form.get_by_label(name.replace("_", " ")).fill(value)
    form.get_by_label("Reason").fill(reason)
    form.get_by_role("button", name=label, exact=True).click()


def expect_done(page: Page, said: str, reason: str) -> None:
    expect(page.get_by_role("status").filter(has_text=said)).to_be_visible()
    expect(page.locator("form[method=post]")).to_have_count(0)
    row = page.get_by_role("region", name="Who did what").or_(page.locator("#history")).get_by_role("row")
    expect(row.filter(has_text=reason).filter(has_text="alice").first).to_be_visible()


def test_a_budget_is_set_changed_observed_enforced_and_removed(tab: Open, served: Site) -> None:
    page = tab().go("budgets")
    page.get_by_role("link", name="Set a budget").click()
    send(page, "Set", "the pilot begins", Budget="$7/day per team")
    expect_done(page, "The budget is set", "the pilot begins")
    expect(page.get_by_role("heading", name="$7.00/day per team")).to_be_visible()

    page.get_by_role("link", name="Change limit of $7.00/day per team").click()
    send(page, "Change", "the pilot grows", Limit="9.50")
    expect_done(page, "The budget is set", "the pilot grows")
    expect(page.get_by_role("heading", name="$9.50/day per team")).to_be_visible()
    assert any(str(each).startswith("$9.50/day per team") for each in served.guard.budgets)

    page.get_by_role("link", name="Only observe $9.50/day per team").click()
    send(page, "Only observe", "no refusals in the pilot")
    expect_done(page, "The budget observes", "no refusals in the pilot")
    page.get_by_role("link", name="Enforce $9.50/day per team").click()
    send(page, "Enforce", "the pilot is over")
    expect_done(page, "The budget is enforced", "the pilot is over")

    page.get_by_role("link", name="Remove $9.50/day per team").click()
    send(page, "Remove", "not needed")
    expect_done(page, "The budget is removed", "not needed")
    expect(page.get_by_role("heading", name="$9.50/day per team")).to_have_count(0)


def test_more_is_granted_to_one_payer_and_taken_back(tab: Open, served: Site) -> None:
    served.call("0.90", user="granted-to", feature="chat")
    page = tab().go("budgets")
    page.get_by_role("link", name="Grant on $1.00/day per user").click()
    send(page, "Grant", "a demo for a customer", user="granted-to", How_much_more="10")
    expect_done(page, "The grant is given", "a demo for a customer")
    grants = page.locator("#grants")
    expect(grants.get_by_role("row").filter(has_text="granted-to")).to_contain_text("$10.00")
    (standing,) = [
        each for each in served.guard.standings(user="granted-to") if str(each.budget).startswith("$1.00/day per user")
    ]
    assert standing.limit == 11
    grants.get_by_role("link", name=re.compile("take back")).first.click()
    send(page, "Take back", "the demo is over")
    expect_done(page, "The grant is taken back", "the demo is over")


def test_a_rule_that_cannot_be_read_is_explained_and_kept_in_its_field(tab: Open) -> None:
    page = (one := tab()).go("budgets?do=set")
    send(page, "Set", "a try", Budget="$5 per fortnight")
    expect(page.get_by_role("alert")).to_contain_text("Nothing was done")
    expect(page.get_by_label("Budget", exact=True)).to_have_value("$5 per fortnight")
    expect(page.get_by_label("Reason")).to_have_value("a try")
    assert one.wrong, "the browser's console tells of the 422"
    one.wrong.clear()


def test_nothing_is_sent_without_a_reason(tab: Open) -> None:
    page = tab().go("budgets?do=set")
    page.get_by_label("Budget", exact=True).fill("$5/day per feature")
    page.get_by_role("button", name="Set", exact=True).click()
    assert page.evaluate("document.querySelector('[name=reason]:invalid') !== null")
    expect(page.locator("form[method=post]")).to_be_visible()


def test_alerts_are_muted_and_unmuted(tab: Open) -> None:
    page = tab().go("alerts")
    page.get_by_role("link", name="Mute", exact=True).first.click()
    page.get_by_label("Of whom").fill("user=noisy")
    page.get_by_label("Reason").fill("a load test")
    page.locator("form[method=post]").get_by_role("button", name="Mute", exact=True).click()
    expect(page.get_by_role("status").filter(has_text="Muted")).to_be_visible()
    mutes = page.locator("#mutes")
    row = mutes.get_by_role("row").filter(has_text="a load test")
    expect(row).to_contain_text("user=noisy")
    expect(row).to_contain_text("alice")
    row.get_by_role("link", name=re.compile("unmute")).click()
    page.get_by_label("Reason").fill("it is over")
    page.locator("form[method=post]").get_by_role("button", name="Unmute").click()
    expect(page.get_by_role("status").filter(has_text="No longer muted")).to_be_visible()
    expect(mutes.get_by_role("row").filter(has_text="a load test")).to_contain_text("ended by alice")


def test_what_rules_would_have_sent_is_previewed(tab: Open) -> None:
    page = (one := tab()).go("alerts")
    page.get_by_text("Look back").click()
    page.get_by_label("How far").select_option("30d")
    page.get_by_label("Rules, one on each line").fill("digest daily 09:00")
    page.get_by_role("button", name="What would have been sent?").click()
    expect(page.get_by_role("heading", name=re.compile("would have been sent in 30d"))).to_be_visible()
    assert one.query()["rules"] == "digest daily 09:00"


def test_news_do_not_take_a_half_filled_form_away(tab: Open, served: Site) -> None:
    page = (one := tab()).go("budgets?do=set")
    page.get_by_label("Budget", exact=True).fill("$3/day per")
    one.ask_for_news()
    served.call("0.95", user="meanwhile", feature="chat")
    one.ask_for_news()
    expect(page.locator("#budgets")).to_contain_text("meanwhile", timeout=20_000)
    expect(page.get_by_label("Budget", exact=True)).to_have_value("$3/day per")
