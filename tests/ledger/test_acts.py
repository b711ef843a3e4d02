"""What people do by a button or a page, what belongs to one thread, and marks on many rows: over every store."""

from __future__ import annotations

from decimal import Decimal

import pytest

from costguard.errors import ConfigError
from costguard.grants import Grant
from costguard.ledger.acts import act
from costguard.ledger.base import Ledger
from costguard.ledger.deeds import Deed
from costguard.ledger.marking import mark
from costguard.ledger.rules import rules
from costguard.ledger.threads import NOTE, Subject, first_told
from tests.alerts.crossings import NOON, tell


def deed(nonce: str = "n", author: str = "ann") -> Deed:
    return Deed(nonce, NOON, author, "grant", "a launch", {"payer": {"user": "alice"}})


def grant(reason: str = "a launch") -> Grant:
    return Grant("$5/day per user", (("user", "alice"),), Decimal(5), "usd", NOON, None, "ann", reason)


def test_a_deed_and_its_grant_are_done_once(ledger: Ledger) -> None:
    assert act(ledger, deed(), grant()) is None
    before = act(ledger, deed(author="bob"), grant())
    assert before is not None
    assert before.author == "ann"
    assert [one.author for one in rules(ledger).grants] == ["ann"]
    assert ledger.deeds() == [deed()]
    assert act(ledger, deed("other")) is None
    assert len(rules(ledger).grants) == 1


def test_a_grant_without_a_reason_is_not_written_down(ledger: Ledger) -> None:
    with pytest.raises(ConfigError, match="a reason"):
        act(ledger, deed(), grant(reason=" "))
    assert not ledger.deeds()


def test_forty_rows_are_marked_together(ledger: Ledger) -> None:
    for number in range(40):
        tell(ledger, f"user{number}")
    parcels = ledger.claim(NOON, lease_ns=10**9, most=40)
    for parcel in parcels:
        parcel.delivered.append("slack")
    mark(ledger, parcels[:30], [(parcel, NOON + 5 * 10**9, "down") for parcel in parcels[30:]], NOON)
    assert ledger.undelivered() == 10
    assert not ledger.claim(NOON + 2 * 10**9, lease_ns=10**9)
    again = ledger.claim(NOON + 5 * 10**9, lease_ns=10**9, most=40)
    assert [one.key for one in again] == [one.key for one in parcels[30:]]
    assert all(one.delivered == ["slack"] for one in again)


def test_what_another_worker_claimed_meanwhile_is_not_postponed(ledger: Ledger) -> None:
    tell(ledger)
    (mine,) = ledger.claim(NOON, lease_ns=10**9)
    (theirs,) = ledger.claim(NOON + 2 * 10**9, lease_ns=10**9)
    mark(ledger, (), [(mine, NOON, "late")], NOON)
    assert not ledger.claim(NOON + 2 * 10**9, lease_ns=10**9)
    mark(ledger, [theirs], (), NOON)
    assert ledger.undelivered() == 0


@pytest.mark.parametrize(
    "budget", ["$5/day per user", "$5/24h per user where feature=chat", "$9/ever", "9 calls/hour per a,b"]
)
def test_a_key_tells_whose_limit_it_is(ledger: Ledger, budget: str) -> None:
    crossing = tell(ledger, 'al"]@,%_', budget=budget, spent="0.000000001")
    subject = Subject.of(crossing.key)
    assert subject is not None
    assert (subject.account, subject.payer) == (crossing.limit.budget.account, crossing.limit.payer)
    assert subject.period == crossing.limit.budget.period


@pytest.mark.parametrize("key", ["", "unpriced:openai/x", "[", "[]@1", '["day"]@0.8*5', "[1,2,3,4]@x"])
def test_other_keys_are_of_no_limit(key: str) -> None:
    assert Subject.of(key) is None


def test_the_first_message_of_a_thread_is_found_by_budget_and_window(ledger: Ledger) -> None:
    first = tell(ledger, "alice")
    (parcel,) = ledger.claim(NOON, lease_ns=10**9)
    parcel.delivered += ["slack:#costs", f"{NOTE}slack:#costs 17.0001"]
    ledger.delivered(parcel, NOON)
    same = tell(ledger, "bob")
    others = [
        tell(ledger, "bob", budget="$50/day per user where feature=chat"),
        tell(ledger, "bob", budget="$5/month per user"),
        tell(ledger, "bob", at_ns=NOON + 24 * 3600 * 10**9),
    ]
    assert first_told(ledger, first.key, "slack:#costs") == "17.0001"
    assert first_told(ledger, same.key, "slack:#costs") == "17.0001"
    assert first_told(ledger, same.key, "slack:#other") is None
    assert [first_told(ledger, one.key, "slack:#costs") for one in others] == [None, None, None]
