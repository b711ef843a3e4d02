"""Budgets and grants changed by people: the change and its deed in one transaction, once; over every store."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from costguard.errors import ConfigError
from costguard.grants import Grant
from costguard.ledger import rulings
from costguard.ledger.base import Ledger
from costguard.ledger.deeds import Deed
from costguard.ledger.rules import rules, version
from tests.alerts.crossings import NOON


def deed(nonce: str, action: str = "budget", reason: str = "a launch") -> Deed:
    return Deed(nonce, NOON, "ann", action, reason)


def in_force(ledger: Ledger) -> list[str]:
    return [stored.rule for stored in rules(ledger).budgets]


def test_a_budget_is_set_replaced_and_removed_each_with_its_deed(ledger: Ledger) -> None:
    first = rulings.set_budget(ledger, "$5/day per user", deed("1"))
    second = rulings.set_budget(ledger, "$9/day per user", deed("2"))
    assert first is not None
    assert second is not None
    assert in_force(ledger) == ["$9.00/day per user"]
    moved = version(ledger)
    gone = rulings.remove_budget(ledger, second.id, deed("3", "remove budget"))
    assert gone is not None
    assert (gone.removed_by, gone.rule) == ("ann", "$9.00/day per user")
    assert in_force(ledger) == []
    assert version(ledger) != moved
    told = [(one.action, one.details.get("budget"), one.details.get("before")) for one in ledger.deeds()]
    assert told == [
        ("remove budget", "$9.00/day per user", None),
        ("budget", "$9.00/day per user", "$5.00/day per user"),
        ("budget", "$5.00/day per user", None),
    ]


def test_the_same_deed_again_changes_nothing(ledger: Ledger) -> None:
    assert rulings.set_budget(ledger, "$5/day per user", deed("1")) is not None
    assert rulings.set_budget(ledger, "$7/day per user", deed("1")) is None
    assert in_force(ledger) == ["$5.00/day per user"]
    stored = rules(ledger).budgets[0]
    assert rulings.remove_budget(ledger, stored.id, deed("2")) is not None
    assert rulings.remove_budget(ledger, stored.id, deed("2")) is None
    assert len(ledger.deeds()) == 2


def test_what_cannot_be_done_is_not_written_down(ledger: Ledger) -> None:
    stored = rulings.set_budget(ledger, "$5/day per user", deed("1"))
    assert stored is not None
    rulings.set_budget(ledger, "$6/day per user", deed("2"))
    for wrong in (
        lambda: rulings.remove_budget(ledger, 99, deed("3")),
        lambda: rulings.remove_budget(ledger, stored.id, deed("4")),
        lambda: rulings.remove_grant(ledger, 99, deed("5")),
        lambda: rulings.set_budget(ledger, "$1/day", deed("6", reason=" ")),
        lambda: rulings.set_budget(ledger, "nonsense", deed("7")),
        lambda: rulings.set_budget(ledger, "$1/day", replace(deed("8"), author="x", reason="")),
    ):
        with pytest.raises(ConfigError):
            wrong()
    assert [one.nonce for one in ledger.deeds()] == ["2", "1"]
    assert in_force(ledger) == ["$6.00/day per user"]


def test_a_budget_that_was_changed_meanwhile_is_not_replaced_by_one_made_from_the_old(ledger: Ledger) -> None:
    first = rulings.set_budget(ledger, "$5/day", deed("1"), instead_of=0)
    assert first is not None
    second = rulings.set_budget(ledger, "$9/day", deed("2"), instead_of=first.id)
    assert second is not None
    for nonce, number in (("3", 0), ("4", first.id)):
        with pytest.raises(ConfigError, match="meanwhile"):
            rulings.set_budget(ledger, "$5/day observe", deed(nonce), instead_of=number)
    assert in_force(ledger) == ["$9.00/day"]
    assert [one.nonce for one in ledger.deeds()] == ["2", "1"]
    assert rulings.set_budget(ledger, "$9/day observe", deed("5"), instead_of=second.id) is not None
    assert in_force(ledger) == ["$9.00/day observe"]


def test_a_grant_is_given_and_taken_back_once(ledger: Ledger) -> None:
    grant = Grant("$5/day per user", (("user", "alice"),), Decimal(5), "usd", NOON, None, "ann", "a launch")
    assert rulings.add_grant(ledger, grant, deed("1", "grant"))
    assert not rulings.add_grant(ledger, grant, deed("1", "grant"))
    (stored,) = rules(ledger).grants
    assert rulings.remove_grant(ledger, stored.id, deed("2", "take back grant")) is not None
    assert rulings.remove_grant(ledger, stored.id, deed("2", "take back grant")) is None
    with pytest.raises(ConfigError, match="meanwhile"):
        rulings.remove_grant(ledger, stored.id, deed("3", "take back grant"))
    assert rules(ledger).grants == ()
    assert [(one.action, one.details["payer"]) for one in ledger.deeds()] == [
        ("take back grant", {"user": "alice"}), ("grant", {"user": "alice"}),
    ]  # fmt: skip
