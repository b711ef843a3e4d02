"""A quiet month sends none; the digest, which is no alarm, comes on each of its days."""

from __future__ import annotations

from costguard.alerts.preview import calls_read, preview
from costguard.alerts.rules import DEFAULT_RULES, Rule, read_rules
from costguard.budget_set import BudgetSet
from costguard.ledger.alert_state import Count, alert_state
from costguard.ledger.base import Ledger
from costguard.ledger.memory import MemoryLedger
from costguard.windows import as_utc
from tests.alerts.scenario import DAY, HOUR, MINUTE, START, Story, at, lived, looked_back

EVERY_KIND = [
    "projected", "burn fast", "burn slow", "spike 3x", "spike 3x per feature", "spike 3x per user", "call over $2",
    "request over $5", "payer over $20/day", "payer over $4/hour", "new model", "unattributed over 10%/day",
    "retries 50/15m", "input 3x", "input 3x per feature", "refusals 10/1h", "journal over 64MB",
]  # fmt: skip

BUDGETS = ["$15/day per user", "$1500/month", "$60/day per feature", "200000000 tokens/month"]


def quiet_month(ledger: Ledger) -> None:
    """Five users at work by day and a nightly job, weekends at a third; a call now and then fails or is tried twice."""
    story = Story(ledger)
    for day in range(-14, 30):
        weekend = day % 7 in (0, 6)
        for hour in range(24):
            begin = START + day * DAY + hour * HOUR
            busy = 8 <= hour < 18
            for place, user in enumerate(("ann", "ben", "cem", "dan", "eva")):
                every = (40 if weekend else 12) * MINUTE if busy else 2 * HOUR
                step = (place * 61 + day * 13) % 90 * 10**9
                for at_ns in range(begin + step, begin + HOUR, every):
                    number = at_ns // 10**9
                    failed = number % 29 == 0
                    cost = 6 + number % 7
                    story.call(
                        at_ns, "0" if failed else f"0.{cost:02}", user=user, feature="chat" if place % 2 else "search",
                        tokens=900 + number % 200, failed=failed, attempts=2 if number % 31 == 0 else 1,
                    )  # fmt: skip
        # It has no user, and is a twentieth of the day.
        story.calls(START + day * DAY + 2 * HOUR, START + day * DAY + 3 * HOUR, 10 * MINUTE, "0.05", feature="nightly")
    story.write()


def test_a_quiet_month_sends_none() -> None:
    ledger = MemoryLedger()
    quiet_month(ledger)
    found = preview(ledger, read_rules(EVERY_KIND), BudgetSet(BUDGETS), START, START + 30 * DAY)
    assert [(f"{alert.at:%d %H:%M}", alert.title) for alert in found.alerts] == []
    assert set(found.counts.values()) == {0}
    assert found.unseen == ("request over $5.00", "journal over 64MB")


def test_the_rules_that_a_preview_begins_with_send_only_digests() -> None:
    ledger = MemoryLedger()
    quiet_month(ledger)
    found = preview(ledger, read_rules(DEFAULT_RULES), BudgetSet(BUDGETS), START, START + 7 * DAY)
    assert {alert.kind for alert in found.alerts} == {"digest"}
    assert len(found.alerts) == 7


def test_an_empty_ledger_sends_none(ledger: Ledger) -> None:
    rules = [*EVERY_KIND, "digest daily 09:00", "digest weekly"]
    assert looked_back(ledger, rules, START, START + 3 * DAY, BUDGETS) == []
    assert lived(ledger, rules, START, START + HOUR, BUDGETS, workers=1) == []


def news_of(ledger: Ledger) -> None:
    story = Story(ledger)
    story.calls(at("08 00:00"), at("09 00:00"), HOUR, "1", user="alice", feature="chat", route="/chat")
    story.calls(at("09 00:00"), at("10 00:00"), HOUR, "1.25", user="alice", feature="chat", route="/chat")
    story.calls(at("09 00:00"), at("09 10:00"), HOUR, "2", user="bob", feature="search", model="gpt-5")
    story.call(at("09 11:00"), None, user="bob", model="made-up")
    story.call(at("09 12:00"), "0", user="bob", failed=True)
    story.calls(at("10 00:00"), at("10 09:00"), HOUR, "9", user="carol")
    story.write()
    about = '{"budget":"$5.00/day per user","payer":{"user":"bob"},"tags":{"user":"bob"}}'
    alert_state(ledger).count([Count("refused", at("09 11:00"), about, 7)])


def test_a_daily_digest_says_what_matters(ledger: Ledger) -> None:
    news_of(ledger)
    budgets = BudgetSet(["$35/day per user", "$22/day per user for user=bob", "$500/month"])
    (alert,) = preview(ledger, [Rule.parse("digest daily 09:00")], budgets, at("10 00:00"), at("10 12:00")).alerts[-1:]
    assert f"{alert.at:%d %H:%M}" == "10 09:00"
    assert alert.title == "Spent on 2026-11-09: $50.00"
    assert alert.text.splitlines() == [
        "$50.00 in 36 calls, 2026-11-09. 108 % more than the day before ($24.00).",
        "Top payers: alice $30.00, bob $20.00.",
        "Top features: chat $30.00, search $20.00.",
        "Top models: gpt-4o $30.00, gpt-5 $20.00.",
        "Top routes: /chat $30.00, unattributed $20.00.",
        "Near their limit: bob: $20.00 of $22.00 ($22.00/day per user for user=bob), 90 %; "
        "alice: $30.00 of $35.00 ($35.00/day per user), 85 %.",
        "Calls: 7 refused, 1 failed, 1 without a price.",
        "Without a price: openai/made-up (1).",
    ]


def test_a_digest_comes_once_to_all_workers_at_its_time_in_its_zone(ledger: Ledger) -> None:
    news_of(ledger)
    rules = ["digest daily 09:00 tz Europe/Berlin", "digest weekly monday 06:00"]
    told = [
        # The 9th is a Monday; nine o'clock in Berlin is eight in November.
        ("09 06:00", "Spent in the week from 2026-11-02: $24.00"),
        ("09 08:00", "Spent on 2026-11-08: $23.00"),
        ("10 08:00", "Spent on 2026-11-09: $49.75"),
    ]
    assert looked_back(ledger, rules, at("09 00:00"), at("10 09:00")) == told
    assert sorted(lived(ledger, rules, at("09 00:00"), at("10 09:00"))) == told


def test_a_preview_without_patience_says_how_far_it_looked() -> None:
    ledger = MemoryLedger()
    rules, budgets = read_rules(DEFAULT_RULES), BudgetSet(BUDGETS)
    assert preview(ledger, rules, budgets, START, START + 7 * DAY).until == as_utc(START + 7 * DAY)
    found = preview(ledger, rules, budgets, START, START + 7 * DAY, patience=-1)
    assert found.since == found.until == as_utc(START)
    assert not found.alerts
    assert calls_read(ledger, rules, budgets, START, START + 7 * DAY) == 0
