from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from costguard import Guard, Usage, tagged
from costguard.budget_set import BudgetSet
from costguard.budgets import Budget
from costguard.call import Call
from costguard.events import Hold, Outcome
from costguard.grants import Grant
from costguard.ledger.base import Ledger
from costguard.ledger.rules import add_grant, set_budget
from costguard.reports import at_risk, known_budgets, standings
from costguard.reports.standings import MOST_FORECAST
from costguard.tags import Tags
from tests.reports.scenes import HOSTILE, at, ns, spent

NOW = at("2026-11-22 12:00")


def counted(store: Ledger, budgets: BudgetSet, when: str, cost: str, **tags: str) -> None:
    """A call that counts on its budgets."""
    spent(store, when, cost=cost, tags=tags, on=budgets.limits(Tags(tags), ns(when)))


def test_payers_stand_where_their_balances_are_the_fullest_first(store: Ledger) -> None:
    budgets = BudgetSet(["$5/day per user", "$100/month"])
    for user, cost in (("alice", "4"), ("bob", "1"), (HOSTILE[0], "2")):
        counted(store, budgets, "2026-11-22 09:00", cost, user=user)
    counted(store, budgets, "2026-11-21 09:00", "5", user="carol")
    found = standings(store, budgets, now=NOW)
    assert [(one.budget.title, dict(one.payer), one.standing.spent, one.share) for one in found] == [
        ("$5.00/day per user", {"user": "alice"}, 4, Decimal("0.8")),
        ("$5.00/day per user", {"user": HOSTILE[0]}, 2, Decimal("0.4")),
        ("$5.00/day per user", {"user": "bob"}, 1, Decimal("0.2")),
        ("$100.00/month", {}, 12, Decimal("0.12")),
    ]
    assert found[0].to_json() == {
        "budget": "$5.00/day per user", "title": "$5.00/day per user", "payer": {"user": "alice"}, "unit": "usd",
        "limit": "5.00", "spent": "4.00", "held": "0.00", "remaining": "1.00", "share": "0.8000",
        "resets_at": "2026-11-23T00:00:00+00:00", "observe": False,
    }  # fmt: skip


def test_what_is_held_fills_a_budget_too(store: Ledger) -> None:
    budgets = BudgetSet(["$5/day per user"])
    counted(store, budgets, "2026-11-22 09:00", "1", user="alice")
    call = Call("openai", "gpt-4o", tags=Tags(user="alice"))
    limits = budgets.limits(call.tags, ns("2026-11-22 11:00"))
    assert store.reserve(Hold(call, limits, 2 * 10**9, ns("2026-11-23 11:00")), ns("2026-11-22 11:00")) is None
    (one,) = standings(store, budgets, now=NOW)
    assert (one.standing.held, one.standing.remaining, one.share) == (2, 2, Decimal("0.6"))


def test_a_rolling_budget_counts_its_span(store: Ledger) -> None:
    budgets = BudgetSet(["$10/7d per user"])
    counted(store, budgets, "2026-11-18 09:00", "6", user="alice")
    counted(store, budgets, "2026-11-22 09:00", "3", user="alice")
    (one,) = standings(store, budgets, now=NOW)
    assert (one.standing.spent, one.share) == (9, Decimal("0.9"))
    (risk,) = at_risk(store, budgets, now=NOW).risks
    assert (risk.why, risk.forecast) == ("near", None)


def test_those_for_whom_a_limit_is_meant_have_theirs(store: Ledger) -> None:
    budgets = BudgetSet(["$5/day per user", "$50/day per user for user=alice", "$8/day per user for plan=pro"])
    counted(store, budgets, "2026-11-22 09:00", "4", user="alice")
    counted(store, budgets, "2026-11-22 09:00", "4", user="bob", plan="pro")
    counted(store, budgets, "2026-11-22 09:00", "4", user="carol")
    found = {one.payer["user"]: one.standing.limit for one in standings(store, budgets, now=NOW)}
    assert found == {"alice": 50, "bob": 8, "carol": 5}


def test_tokens_and_calls_are_counted_in_their_units(store: Ledger) -> None:
    budgets = BudgetSet(["1000 tokens/day per user", "10 calls/day per user"])
    counted(store, budgets, "2026-11-22 09:00", "1", user="alice")
    found = {one.standing.unit: one for one in standings(store, budgets, now=NOW)}
    assert (found["tokens"].standing.spent, found["calls"].standing.spent) == (120, 1)
    assert found["tokens"].to_json()["limit"] == "1000"
    assert at_risk(store, budgets, least=Decimal("0.1"), now=NOW).risks[0].forecast is None


def test_budgets_of_the_database_and_their_grants_are_known(store: Ledger) -> None:
    set_budget(store, "$5/day per user", "ann", now_ns=ns("2026-11-22 08:00"))
    grant = Grant(
        "$5/day per user", (("user", "alice"),), Decimal(3), at_ns=ns("2026-11-22 08:00"), author="ann", reason="demo"
    )  # fmt: skip
    add_grant(store, grant)
    counted(store, BudgetSet(["$5/day per user"]), "2026-11-22 09:00", "4", user="alice")
    (one,) = standings(store, now=NOW)
    assert (one.standing.limit, one.standing.spent) == (8, 4)


def test_who_is_near_a_limit_or_heading_for_it_is_at_risk(store: Ledger) -> None:
    budgets = BudgetSet(["$30/month per user"])
    for user, cost in (("near", "1.2"), ("heading", "1.05"), ("fine", "0.5"), ("over", "2")):
        for back in range(1, 22):
            counted(store, budgets, f"{NOW - timedelta(days=back):%Y-%m-%d} 09:00", cost, user=user)
    made = at_risk(store, budgets, now=NOW)
    assert [(one.at.payer["user"], one.why) for one in made.risks] == [
        ("over", "spent"), ("near", "near"), ("heading", "heading"),
    ]  # fmt: skip
    assert made.looked_at == 4
    assert [one.reached for one in made.risks] == [date(2026, 11, 22), date(2026, 11, 26), date(2026, 11, 30)]
    told = made.to_json()["risks"][2]
    assert (told["spent"], told["limit"], told["why"]) == ("22.05", "30.00", "heading")
    assert Decimal(told["low"]) <= Decimal(told["expected"]) <= Decimal(told["high"])


def test_a_limit_of_nothing_is_spent(store: Ledger) -> None:
    budgets = BudgetSet(["$5/day per user", "$0/day per user for user=eve"])
    counted(store, budgets, "2026-11-22 09:00", "1", user="eve")
    (one,) = standings(store, budgets, now=NOW)
    assert one.share is None
    assert [risk.why for risk in at_risk(store, budgets, now=NOW).risks] == ["spent"]


@pytest.mark.parametrize("budgets", [None, [], ["$5/day per user"], [Budget.parse("$1/request")]])
def test_without_calls_nobody_stands_anywhere(store: Ledger, budgets: list[Budget | str] | None) -> None:
    assert standings(store, budgets, now=NOW) == ()
    assert at_risk(store, budgets, now=NOW).to_json()["risks"] == []


def test_many_payers_are_cut_to_the_fullest(store: Ledger) -> None:
    budgets = BudgetSet(["$5/day per user"])
    for place in range(8):
        counted(store, budgets, "2026-11-22 09:00", f"{place}.5", user=f"u{place}")
    assert [one.payer["user"] for one in standings(store, budgets, most=2, now=NOW)] == ["u7", "u6"]


def test_budgets_of_code_are_known_from_what_calls_were_counted_by(tmp_path: Path) -> None:
    with Guard(f"sqlite:///{tmp_path}/costs.db", budgets=["$5/day per user", "$1/call"], engine="direct") as guard:
        with tagged(user="alice"):
            call = Call("openai", "gpt-4o")
        guard.reserve(call)
        guard.settle(call, Outcome("ok", Usage(input_tokens=1_000), model="gpt-4o"))
        assert [str(budget) for budget in known_budgets(guard.ledger)] == ["$5.00/day per user"]
        (one,) = standings(guard.ledger)
        assert (dict(one.payer), one.standing.spent > 0) == ({"user": "alice"}, True)


def test_who_is_at_risk_is_told_beside_all_who_stand_somewhere(store: Ledger) -> None:
    budgets = BudgetSet(["$5/day per user"])
    for user, cost in (("alice", "4.5"), ("bob", "0.1")):
        counted(store, budgets, "2026-11-22 09:00", cost, user=user)
    report = at_risk(store, budgets, now=NOW)
    assert [one.at.payer["user"] for one in report.risks] == ["alice"]
    assert report.standings == standings(store, budgets, now=NOW)


def test_payers_that_have_spent_all_do_not_hide_a_budget_that_will_be(store: Ledger) -> None:
    budgets = BudgetSet(["$1/day per user", "$200/month"])
    for number in range(MOST_FORECAST + 5):
        counted(store, budgets, "2026-11-22 09:00", "1", user=f"u{number}")
    for day in range(1, 22):
        counted(store, budgets, f"2026-11-{day:02} 09:00", "6", user="early")
    found = at_risk(store, budgets, most=200, now=NOW)
    assert [one.why for one in found.risks if one.at.budget.window == "month"] == ["heading"]
