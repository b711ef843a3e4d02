"""The same rules on PostgreSQL: its statements, and workers that share it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from costguard.alerts.alert import RetryLater, Undeliverable
from costguard.ledger.alert_state import BUCKET_NS, Count, alert_state
from costguard.ledger.base import Ledger
from costguard.ledger.mutes import mute, mutes, unmute
from costguard.ledger.opening import open_ledger
from costguard.ledger.parcels import parcel_counts, parcels, tell_again
from tests.alerts.crossings import Clock
from tests.alerts.scenario import HOUR, MINUTE, Story, at, lived, looked_back
from tests.alerts.test_parcels import Service, delivered
from tests.ledger.stores import new_url


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[Ledger]:
    ledger = open_ledger(new_url("postgres", tmp_path))
    yield ledger
    ledger.close()


def test_rules_find_what_they_find_elsewhere(postgres: Ledger) -> None:
    story = Story(postgres)
    story.calls(at("10 00:00"), at("10 06:00"), HOUR, "1", user="alice")
    story.calls(at("10 02:00"), at("10 04:00"), MINUTE, "2.40", user="bob", feature="chat", attempts=3)
    story.call(at("10 03:01"), "7", model="gpt-5")
    story.write()
    about = '{"budget":"$5.00/day","payer":{"user":"alice"},"tags":{"user":"alice"}}'
    alert_state(postgres).count([Count("refused", at("10 02:00"), about, 12)])
    rules = [
        "burn fast", "call over $5", "new model", "payer over $100/day", "retries 20/15m", "refusals 10/1h",
        "digest daily 04:00 tz America/New_York",
    ]  # fmt: skip
    told = [
        ("10 02:05", "12 calls of alice were refused"),
        ("10 02:10", "20 requests of gpt-4o failed in 15m"),
        ("10 02:45", "bob has spent $100.00 this day"),
        ("10 03:00", "bob burns $240.00/day per user at 14.4 times its pace"),
        ("10 03:05", "A call of unattributed cost $7.00"),
        ("10 03:05", "openai/gpt-5 is used for the first time"),
    ]
    budgets = ["$240/day per user"]
    assert sorted(looked_back(postgres, rules, at("10 01:30"), at("10 04:30"), budgets)) == told
    assert sorted(lived(postgres, rules, at("10 01:30"), at("10 04:30"), budgets)) == told


def test_a_call_with_many_long_tags_is_told_of_and_keeps_no_other_rule_back(postgres: Ledger) -> None:
    story = Story(postgres)
    letters = "".join([chr(0x4E00 + number * 7919 % 20_000) for number in range(1000)])
    tags = {f"tag{number}": letters[200 * number : 200 * number + 200] for number in range(5)}
    story.call(at("10 03:01"), "7", user="eve", **tags)
    story.call(at("10 03:01"), "25", user="bob")
    story.write()
    rules = ["call over $5", "payer over $20/day"]
    assert sorted(lived(postgres, rules, at("10 03:00"), at("10 03:10"))) == [
        ("10 03:05", "A call of bob cost $25.00"),
        ("10 03:05", "A call of eve cost $7.00"),
        ("10 03:05", "bob has spent $20.00 this day"),
    ]


def test_counts_and_mutes_are_kept(postgres: Ledger) -> None:
    state = alert_state(postgres)
    for number in (3, 4):
        state.count([Count("refused", 0, "{}", number), Count("refused", BUCKET_NS, "{}", 1)])
    state.forget(BUCKET_NS)
    assert state.counts("refused", 0, 10 * BUCKET_NS) == [Count("refused", BUCKET_NS, "{}", 2)]
    made = mute(postgres, kind="spike", payer={"user": "ann"}, author="ann", until_ns=None)
    assert mutes(postgres) == [made]
    unmute(postgres, made.id, "ben")
    assert mutes(postgres) == []
    assert [(deed.action, deed.author) for deed in postgres.deeds()] == [("unmute", "ben"), ("mute", "ann")]


def test_what_became_of_alerts_is_kept_and_workers_know_whom_to_leave_alone(postgres: Ledger) -> None:
    clock = Clock()
    refusing = Service(bob=Undeliverable("deleted"), cem=RetryLater(30))
    outbox = delivered(postgres, clock, refusing)
    assert [(one.state, one.error) for one in parcels(postgres)] == [
        ("waiting", "service: told to wait 30 s"), ("muted", "muted by ann: user=dan"),
        ("given up", "service: deleted"), ("told", ""),
    ]  # fmt: skip
    assert parcel_counts(postgres) == {"waiting": 1, "told": 1, "given up": 1, "muted": 1}
    state = alert_state(postgres)
    assert state.pauses(clock()) == {"service": clock() + 30 * 10**9}
    state.pause("service", clock() + 10 * 10**9)
    assert state.pauses(clock()) == {"service": clock() + 30 * 10**9}, "the later one counts"
    assert state.pauses(clock() + 31 * 10**9) == {}
    refusing.errors.clear()
    clock.advance(60)
    tell_again(postgres, 2, author="ann", now_ns=clock())
    assert outbox.flush(20) == 0
    assert refusing.told == ["alice", "bob", "cem"]
    outbox.close()
