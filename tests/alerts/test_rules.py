"""Each alert rule on a ledger that tells a story: the exact alerts, looked back at and lived through by two workers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from costguard.alerts.preview import preview
from costguard.budget_set import BudgetSet
from costguard.ledger.alert_state import BUCKET_NS, Count, alert_state
from costguard.ledger.base import Ledger
from tests.alerts.scenario import DAY, HOUR, MINUTE, START, Story, at, lived, looked_back

Told = list[tuple[str, str]]
Ways = Callable[..., Told]


@pytest.fixture
def story(ledger: Ledger) -> Story:
    return Story(ledger)


@pytest.fixture
def tells(ledger: Ledger) -> Ways:
    """Both ways find the same."""

    def both(rule: str, since: str, until: str, *budgets: str) -> Told:
        back = looked_back(ledger, [rule], at(since), at(until), budgets)
        live = lived(ledger, [rule], at(since), at(until), budgets)
        assert sorted(live) == sorted(back)
        return back

    return both


def test_a_budget_that_burns_fast_is_told_of_once_while_it_goes_on(story: Story, tells: Ways) -> None:
    # $240 a day is $10 an hour; 14.4 times that is $144 in an hour and $12 in five minutes.
    story.calls(at("10 10:00"), at("10 12:00"), MINUTE, "2.40", user="alice")
    story.calls(at("10 10:00"), at("10 12:00"), MINUTE, "2.30", user="bob")
    story.write()
    assert tells("burn fast", "10 09:00", "10 13:00", "$240/day per user") == [
        ("10 11:00", "alice burns $240.00/day per user at 14.4 times its pace")
    ]


def test_a_short_burst_that_is_over_burns_nothing(story: Story, tells: Ways) -> None:
    story.calls(at("10 10:00"), at("10 10:04"), MINUTE, "30", user="alice")
    story.calls(at("10 10:10"), at("10 10:50"), MINUTE, "1", user="alice")
    story.write()
    assert tells("burn fast", "10 10:05", "10 12:00", "$240/day per user") == []


def test_a_budget_that_burns_slowly_is_told_of(story: Story, tells: Ways) -> None:
    # $300 in November are $10 a day; twice that from the 10th on.
    story.calls(at("05 00:00"), at("10 00:00"), HOUR, "0.30")
    story.calls(at("10 00:00"), at("14 00:00"), HOUR, "0.84")
    story.write()
    assert tells("burn slow", "10 08:00", "11 00:00", "$300/month") == [
        ("10 16:00", "everyone burns $300.00/month at 1 times its pace"),
    ]


def test_a_window_shorter_than_the_rule_looks_back_is_not_burnt(story: Story, tells: Ways) -> None:
    story.calls(at("10 00:00"), at("11 00:00"), HOUR, "5")
    story.write()
    assert tells("burn slow", "10 00:00", "10 06:00", "$5/hour") == []


def test_spending_that_will_pass_its_limit_is_told_of_once_a_window(story: Story, tells: Ways) -> None:
    story.calls(at("10 00:00"), at("11 00:00"), HOUR, "0.50", user="alice")
    story.calls(at("10 00:00"), at("11 00:00"), HOUR, "0.40", user="bob")
    story.calls(at("11 00:00"), at("12 00:00"), HOUR, "0.50", user="alice")
    story.write()
    assert tells("projected", "10 04:00", "11 08:00", "$10/day per user") == [
        ("10 06:00", "alice is heading for $12.00 of $10.00/day per user"),
        ("11 06:00", "alice is heading for $12.00 of $10.00/day per user"),
    ]


def test_who_has_spent_too_fast_before_it_can_be_said_is_told_of_when_it_can(story: Story, tells: Ways) -> None:
    story.calls(at("10 03:00"), at("10 03:30"), 10 * MINUTE, "1", user="alice")
    story.write()
    assert tells("projected", "10 02:00", "10 08:00", "$5/day per user") == [
        ("10 06:00", "alice is heading for $12.00 of $5.00/day per user")
    ]


def test_a_budget_by_the_hour_is_projected_within_the_hour(story: Story, tells: Ways) -> None:
    story.calls(at("10 10:00"), at("10 10:20"), MINUTE, "0.20", user="alice")
    story.write()
    assert tells("projected", "10 09:00", "10 11:00", "$10/hour per user") == [
        ("10 10:15", "alice is heading for $12.00 of $10.00/hour per user")
    ]


def test_a_month_is_projected_by_its_last_three_days(story: Story, tells: Ways) -> None:
    story.calls(START, at("10 00:00"), HOUR, "0.10")
    story.calls(at("10 00:00"), at("15 00:00"), HOUR, "1")
    story.write()
    # At 04:00 $25.60 are spent, $10.80 of them in the last three days; 500 hours are left.
    assert tells("projected", "10 00:00", "10 09:00", "$100/month") == [
        ("10 04:00", "everyone is heading for $100.60 of $100.00/month")
    ]


def test_a_spike_is_told_of_against_the_same_hours_of_the_days_before(story: Story, tells: Ways) -> None:
    for day in range(1, 11):
        story.calls(START + day * DAY + 10 * HOUR, START + day * DAY + 11 * HOUR, 5 * MINUTE, "1", feature="chat")
        story.calls(START + day * DAY + 10 * HOUR, START + day * DAY + 11 * HOUR, 5 * MINUTE, "1", feature="search")
    story.calls(at("11 10:02"), at("11 11:02"), 5 * MINUTE, "2.10", feature="search")
    story.write()
    assert tells("spike 3x per feature", "11 09:55", "11 11:30") == [
        ("11 10:20", "search spends 3.1 times the usual"),
    ]


def test_a_spike_goes_on_for_as_long_as_it_is_seen_though_nothing_is_called(story: Story, tells: Ways) -> None:
    for day in range(1, 9):
        story.call(START + day * DAY + 10 * HOUR, "1")
    story.call(at("10 10:02"), "50")
    # Less than a day after 11:00, when the first was seen last.
    story.call(at("11 10:32"), "90")
    story.write()
    assert tells("spike 3x", "10 09:00", "11 12:00") == [("10 10:05", "everyone spends 50 times the usual")]


def test_requests_that_failed_go_on_failing_until_they_are_out_of_sight(story: Story, tells: Ways) -> None:
    for begin in ("10 01:00", "10 02:08"):
        story.calls(at(begin), at(begin) + 5 * MINUTE, MINUTE, "0", model="gpt-5", failed=True)
    story.write()
    assert tells("retries 5/15m", "10 00:30", "10 03:00") == [("10 01:05", "5 requests of gpt-5 failed in 15m")]


def test_a_preview_counts_a_rolling_budget_as_its_balance_does(story: Story, ledger: Ledger) -> None:
    # The bucket of 00:00 to 01:00 of the day before counts, too.
    story.call(at("10 00:10"), "5")
    story.call(at("11 00:30"), "4")
    story.write()
    found = preview(ledger, (), BudgetSet(["$10/24h"]), at("11 00:00"), at("11 02:00"))
    assert [(alert.title, alert.text) for alert in found.alerts] == [
        ("everyone has reached 80 % of $10.00/24h", "everyone has spent $9.00 of $10.00, budget $10.00/24h.")
    ]


def test_a_preview_tells_of_a_mark_when_it_is_passed_and_not_for_as_long_as_it_is(story: Story, ledger: Ledger) -> None:
    story.calls(at("05 00:00"), at("12 00:00"), HOUR, "0.35")
    story.write()
    budgets = BudgetSet(["$10/24h", "$100/month"])
    assert not preview(ledger, (), budgets, at("07 00:00"), at("10 00:00")).alerts
    found = preview(ledger, (), budgets, at("04 00:00"), at("12 00:00"))
    assert [alert.title for alert in found.alerts] == [
        "everyone has reached 50 % of $10.00/24h", "everyone has reached 80 % of $10.00/24h",
        "everyone has reached 50 % of $100.00/month",
    ]  # fmt: skip


def test_without_days_to_compare_with_there_is_no_spike(story: Story, tells: Ways) -> None:
    story.calls(at("02 10:00"), at("02 11:00"), 5 * MINUTE, "10")
    story.write()
    assert tells("spike 3x", "02 10:30", "02 11:10") == []


def test_a_dear_call_is_told_of_once_even_if_it_is_recorded_late(ledger: Ledger) -> None:
    story = Story(ledger)
    story.call(at("10 10:01"), "2.00", user="alice", feature="chat")
    story.call(at("10 10:01"), "1.99", user="bob")
    story.write()
    rule = ["call over $2"]
    assert lived(ledger, rule, at("10 09:00"), at("10 11:00")) == [("10 10:05", "A call of alice cost $2.00")]
    story.call(at("10 10:30"), "3", user="carol")
    story.write()
    assert lived(ledger, rule, at("10 11:00"), at("10 13:00")) == [("10 11:05", "A call of carol cost $3.00")]
    assert looked_back(ledger, rule, at("10 09:00"), at("10 13:00")) == [
        ("10 10:05", "A call of alice cost $2.00"), ("10 10:35", "A call of carol cost $3.00"),
    ]  # fmt: skip


def test_many_dear_calls_at_once_are_one_alert(story: Story, tells: Ways) -> None:
    story.calls(at("10 10:00"), at("10 10:05"), 10 * 10**9, "2.50", user="alice")
    story.write()
    assert tells("call over $2", "10 09:00", "10 11:00") == [("10 10:05", "30 calls cost over $2.00 each")]


def test_any_payer_over_an_amount_is_told_of_once_a_window(story: Story, tells: Ways) -> None:
    story.calls(at("10 00:00"), at("12 00:00"), HOUR, "1", user="alice")
    story.calls(at("10 00:00"), at("12 00:00"), HOUR, "0.80", user="bob")
    story.write()
    assert tells("payer over $20/day", "10 18:00", "10 23:00") == [
        ("10 19:05", "alice has spent $20.00 this day"),
    ]


def test_a_rule_counts_only_the_calls_that_it_names(story: Story, tells: Ways) -> None:
    story.calls(at("10 00:00"), at("10 05:00"), HOUR, "6", user="alice", environment="production")
    story.calls(at("10 00:00"), at("10 05:00"), HOUR, "6", user="bob", environment="test")
    story.write()
    assert tells("payer over $20/day where environment=production", "10 00:00", "10 06:00") == [
        ("10 03:05", "alice has spent $20.00 this day"),
    ]


def test_a_day_begins_where_the_rule_says(story: Story, tells: Ways) -> None:
    story.calls(at("10 20:00"), at("11 02:00"), HOUR, "4", user="alice")
    story.write()
    # 23:00 UTC is midnight in Berlin: three calls before it, three after.
    assert tells("payer over $15/day tz Europe/Berlin", "10 21:00", "11 02:30") == []
    assert tells("payer over $12/day tz Europe/Berlin", "10 21:00", "11 02:30") == [
        ("10 22:05", "alice has spent $12.00 this day"), ("11 01:05", "alice has spent $12.00 this day"),
    ]  # fmt: skip


def test_the_first_use_of_a_model_is_told_of(story: Story, tells: Ways) -> None:
    story.calls(at("09 00:00"), at("11 00:00"), HOUR, "0.10")
    story.call(at("10 10:00"), "0.50", model="gpt-5")
    story.call(at("10 11:00"), None, model="made-up")
    story.call(at("10 12:00"), "0", model="misspelt", failed=True)
    story.call(at("10 13:00"), "0.50", model="gpt-5")
    story.write()
    assert tells("new model", "10 09:30", "10 14:00") == [
        ("10 10:05", "openai/gpt-5 is used for the first time"),
        ("10 11:05", "openai/made-up is used for the first time"),
    ]


def test_spending_of_nobody_is_told_of_once_a_day(story: Story, tells: Ways) -> None:
    story.calls(at("10 00:00"), at("11 00:00"), HOUR, "0.85", user="alice")
    story.calls(at("10 00:00"), at("11 00:00"), HOUR, "0.15")
    story.write()
    assert tells("unattributed over 20%/day", "10 00:00", "10 06:00") == []
    assert tells("unattributed over 10%/day", "10 00:00", "10 12:00") == [
        ("10 01:00", "15 % of the last day's spending has no user"),
    ]


def test_a_retry_storm_is_told_of_by_model(story: Story, tells: Ways) -> None:
    story.calls(at("10 09:00"), at("10 12:00"), MINUTE, model="gpt-4o")
    story.calls(at("10 10:00"), at("10 10:30"), MINUTE, model="gpt-5", attempts=6)
    story.calls(at("10 10:00"), at("10 10:30"), MINUTE, "0", model="gpt-5", attempts=3, failed=True)
    story.write()
    assert tells("retries 100/15m", "10 09:00", "10 12:00") == [
        ("10 10:15", "120 requests of gpt-5 failed in 15m"),
    ]


def test_many_calls_of_which_few_fail_are_no_storm(story: Story, tells: Ways) -> None:
    story.calls(at("10 10:00"), at("10 10:15"), 10**9 // 2)
    story.calls(at("10 10:00"), at("10 10:15"), 5 * 10**9, "0", failed=True)
    story.write()
    assert tells("retries 100/15m", "10 09:00", "10 11:00") == []


def test_input_that_jumps_is_told_of(story: Story, tells: Ways) -> None:
    story.calls(at("03 00:00"), at("10 00:00"), HOUR, tokens=1000, feature="chat")
    story.calls(at("10 00:00"), at("10 05:00"), 2 * MINUTE, tokens=1000, feature="chat")
    story.calls(at("10 05:00"), at("10 07:00"), 2 * MINUTE, tokens=3200, feature="chat")
    story.write()
    assert tells("input 3x", "10 04:00", "10 08:00") == [
        ("10 06:00", "The input of feature=chat,model=gpt-4o is 3.2 times as large"),
    ]


def refuse(ledger: Ledger, moment: str, count: int, user: str, budget: str = "$5.00/day per user") -> None:
    about = f'{{"budget":"{budget}","payer":{{"user":"{user}"}},"tags":{{"feature":"chat","user":"{user}"}}}}'
    alert_state(ledger).count([Count("refused", at(moment) // BUCKET_NS * BUCKET_NS, about, count)])


def test_refusals_are_told_of_with_their_count(ledger: Ledger, tells: Ways) -> None:
    refuse(ledger, "10 10:00", 6, "alice")
    refuse(ledger, "10 10:30", 6, "alice")
    refuse(ledger, "10 10:30", 9, "bob")
    assert tells("refusals 10/1h", "10 09:00", "10 13:00") == [("10 10:35", "12 calls of alice were refused")]


def test_refusals_are_counted_by_what_the_rule_names(ledger: Ledger, tells: Ways) -> None:
    refuse(ledger, "10 10:00", 6, "alice")
    refuse(ledger, "10 10:30", 6, "bob")
    assert tells("refusals 10/day per feature", "10 09:00", "10 13:00") == [
        ("10 10:35", "12 calls of chat were refused")
    ]
