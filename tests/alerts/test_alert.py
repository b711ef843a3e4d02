from __future__ import annotations

import logging
from collections.abc import Callable
from decimal import Decimal

import pytest

from costguard.alerts.alert import Alert, log_channel
from costguard.budgets import Budget
from costguard.events import Crossing
from costguard.ledger.base import Ledger
from costguard.tags import Tags
from tests.alerts.crossings import NOON, record, tell


def told(ledger: Ledger) -> Alert:
    (parcel,) = ledger.claim(NOON, lease_ns=10**9)
    return Alert.of(parcel, ledger)


def test_an_alert_says_who_spent_how_much_of_what_and_on_what(ledger: Ledger) -> None:
    record(ledger, "3.00", feature="chat", model="gpt-4o")
    record(ledger, "1.02", feature="search", model="gpt-4o-mini")
    record(ledger, "9.00", user="bob", feature="other", model="o3")
    record(ledger, "9.00", feature="yesterday", model="o1", at_ns=NOON - 24 * 3600 * 10**9)
    tell(ledger)
    alert = told(ledger)
    assert alert.title == "alice has reached 80 % of $5.00/day per user"
    assert alert.text == (
        "alice has spent $4.02 of $5.00 (80 %), budget $5.00/day per user; resets 2026-11-23T00:00Z. "
        "Top feature: chat ($3.00). Top model: gpt-4o ($3.00)."
    )
    assert (alert.spent, alert.limit, alert.fraction) == (Decimal("4.02"), Decimal(5), Decimal("0.8"))
    assert alert.payer == {"user": "alice"}


def test_only_the_calls_that_the_budget_counts_make_the_top(ledger: Ledger) -> None:
    record(ledger, "3.00", feature="chat")
    record(ledger, "1.00", feature="search", model="gpt-4o-mini")
    tell(ledger, budget="$1/day per user where feature=search", spent="1")
    alert = told(ledger)
    assert alert.top_feature == ("search", Decimal(1))
    assert alert.top_model == ("gpt-4o-mini", Decimal(1))


def test_an_alert_told_late_names_what_was_spent_by_then(ledger: Ledger) -> None:
    record(ledger, "3.00", feature="chat")
    record(ledger, "40.00", feature="later", at_ns=NOON + 3600 * 10**9)
    tell(ledger)
    assert told(ledger).top_feature == ("chat", Decimal(3))


def test_calls_without_a_price_are_no_top_and_calls_without_a_feature_are_visible(ledger: Ledger) -> None:
    record(ledger, None, feature="chat", model="unknown")
    tell(ledger)
    alert = told(ledger)
    assert alert.top_feature is None
    assert alert.top_model is None
    record(ledger, "0.50", feature=None)
    tell(ledger, fraction="1")
    assert told(ledger).top_feature == ("unattributed", Decimal("0.5"))


def test_a_budget_for_everyone_that_never_resets_says_so(ledger: Ledger) -> None:
    tell(ledger, budget=Budget(Decimal(500), "ever", name="Pilot"), spent="500", fraction="1")
    alert = told(ledger)
    assert alert.title == "everyone has reached 100 % of Pilot"
    assert alert.text.startswith("everyone has spent $500.00 of $500.00 (100 %), budget Pilot ($500.00/ever); never ")
    assert alert.resets_at is None


def test_tokens_are_told_as_tokens_and_a_rolling_limit_with_all_of_its_buckets(ledger: Ledger) -> None:
    limit = Budget.parse("1000 tokens/24h per user").limit_for(Tags(user="alice"), NOON).over(300)
    crossing = Crossing(limit, Decimal("0.8"), 550, NOON)
    assert ledger.tell(crossing)
    alert = told(ledger)
    assert (alert.unit, alert.spent, alert.limit, alert.percent) == ("tokens", Decimal(850), Decimal(1000), 85)
    assert alert.text.startswith("alice has spent 850 of 1,000 tokens (85 %), budget 1000 tokens/24h per user; ")
    again = Budget.parse("1000 tokens/24h per user").limit_for(Tags(user="alice"), NOON + 3600 * 10**9).over(400)
    assert not ledger.tell(Crossing(again, Decimal("0.8"), 450, NOON)), "of another bucket, told already"


def test_a_refusal_is_told_as_one(ledger: Ledger) -> None:
    tell(ledger, spent="4.98", fraction="1", refused=True)
    alert = told(ledger)
    assert alert.title == "A call of alice was refused: it does not fit $5.00/day per user"
    assert alert.text.startswith("A call of alice was refused. alice has spent $4.98 of $5.00 (99 %)")


def test_a_logger_can_be_a_channel(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    tell(ledger)
    with caplog.at_level(logging.WARNING, "costs"):
        log_channel(logging.getLogger("costs"))(told(ledger))
    assert "alice has spent $4.02 of $5.00" in caplog.text


def test_a_budget_of_nothing_is_used_up(make_alert: Callable[..., Alert]) -> None:
    assert make_alert(limit=Decimal(0), spent=Decimal(0)).percent == 100
    assert "(100 %)" in make_alert(limit=Decimal(0), spent=Decimal(0)).text
