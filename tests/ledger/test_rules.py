"""Budgets and grants kept beside a ledger: in memory, in SQLite and in PostgreSQL."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from costguard.budgets import Budget
from costguard.errors import ConfigError
from costguard.grants import Grant
from costguard.ledger.base import Ledger
from costguard.ledger.memory import MemoryLedger
from costguard.ledger.opening import open_ledger
from costguard.ledger.rules import (
    add_grant,
    remove_budget,
    remove_grant,
    rules,
    seen,
    set_budget,
    version,
)
from costguard.ledger.wrapper import Wrapper
from costguard.tags import Tags
from tests.ledger.values import DAY, NOW, entry, hold, limit

EVERYTHING = (
    '100000 tokens/30d per user,team where environment=production,feature="a b, c" for plan=pro tz Europe/Berlin '
    'holds strict alerts at 25%, 90% then downgrade:gpt-4o-mini at 80%, fit at 90% observe named "Ann\'s ünit"'
)


def in_force(ledger: Ledger) -> list[str]:
    return [stored.rule for stored in rules(ledger).budgets]


def test_at_first_there_are_none(ledger: Ledger) -> None:
    assert version(ledger) == 0
    found = rules(ledger)
    assert (found.version, found.budgets, found.grants) == (0, (), ())


def test_a_budget_is_kept_as_it_was_set_with_who_and_when(ledger: Ledger) -> None:
    set_budget(ledger, EVERYTHING, "  Zoë  ", now_ns=NOW)
    (stored,) = rules(ledger).budgets
    assert stored.budget == Budget.parse(EVERYTHING)
    assert (stored.author, stored.created_ns, stored.removed_ns) == ("Zoë", NOW, None)


def test_a_budget_takes_the_place_of_the_one_that_counts_the_same(ledger: Ledger) -> None:
    first = set_budget(ledger, "$5/day per user", "ann", now_ns=NOW)
    set_budget(ledger, "$50/day per user for plan=pro", "ann", now_ns=NOW)
    second = set_budget(ledger, "$7/day per user holds strict", "bob", now_ns=NOW + DAY)
    assert in_force(ledger) == ["$50.00/day per user for plan=pro", "$7.00/day per user holds strict"]
    old = rules(ledger, history=True).budgets[0]
    assert (old.id, old.rule, old.removed_ns, old.removed_by) == (first.id, "$5.00/day per user", NOW + DAY, "bob")
    assert second.id > first.id


def test_a_budget_that_is_set_again_is_not_set_twice(ledger: Ledger) -> None:
    first = set_budget(ledger, "$5/day per user", "ann", now_ns=NOW)
    assert set_budget(ledger, "$5.00/day per user", "bob", now_ns=NOW + DAY) == first
    assert len(rules(ledger, history=True).budgets) == 1


def test_a_budget_is_removed_by_its_number_or_by_a_rule_of_its_kind(ledger: Ledger) -> None:
    first = set_budget(ledger, "$5/day per user", "ann", now_ns=NOW)
    set_budget(ledger, "$9/month", "ann", now_ns=NOW)
    removed = remove_budget(ledger, first.id, "bob", now_ns=NOW + DAY)
    assert (removed.rule, removed.removed_by) == ("$5.00/day per user", "bob")
    assert remove_budget(ledger, "$1/month", "bob").rule == "$9.00/month"
    assert in_force(ledger) == []
    assert [stored.removed_by for stored in rules(ledger, history=True).budgets] == ["bob", "bob"]
    # One that was removed can be set again.
    set_budget(ledger, "$5/day per user", "ann")
    assert in_force(ledger) == ["$5.00/day per user"]


@pytest.mark.parametrize("which", [7, "$5/day per user", "$5/day per user for plan=pro"])
def test_what_is_not_there_cannot_be_removed(ledger: Ledger, which: int | str) -> None:
    set_budget(ledger, "$5/day per team", "ann")
    with pytest.raises(ConfigError, match=r"the database has no budget .*; see them with: costguard budgets list"):
        remove_budget(ledger, which, "bob")
    assert in_force(ledger) == ["$5.00/day per team"]


def test_a_grant_is_kept_with_who_when_and_why(ledger: Ledger) -> None:
    budget = Budget.parse("50 calls/hour per user,team tz Asia/Kathmandu")
    given = Grant(
        budget.account, (("user", "zoë, \"x\""), ("team", "t")), Decimal(25), "calls", NOW, NOW + DAY, "ann", "démo"
    )  # fmt: skip
    stored = add_grant(ledger, given)
    assert [(each.id, each.grant) for each in rules(ledger).grants] == [(stored.id, given)]
    for_good = Grant(Budget.parse("$5/ever").account, (), Decimal("0.000000001"), "usd", NOW, None, "ann", "a nano")
    add_grant(ledger, for_good)
    assert [each.grant for each in rules(ledger).grants] == [given, for_good]


def test_a_grant_can_be_taken_back_once(ledger: Ledger) -> None:
    account = Budget.parse("$5/day").account
    stored = add_grant(ledger, Grant(account, (), Decimal(1), "usd", NOW, None, "ann", "demo"))
    assert remove_grant(ledger, stored.id, "bob", now_ns=NOW + DAY).removed_by == "bob"
    assert rules(ledger).grants == ()
    (kept,) = rules(ledger, history=True).grants
    assert (kept.removed_ns, kept.removed_by) == (NOW + DAY, "bob")
    with pytest.raises(ConfigError, match=r"the database has no grant 1; see them with: costguard grants list"):
        remove_grant(ledger, stored.id, "bob")


def test_every_change_has_a_version_of_its_own(ledger: Ledger) -> None:
    grant = Grant(Budget.parse("$5/day").account, (), Decimal(1), "usd", NOW, None, "ann", "demo")
    seen_versions = [version(ledger)]
    for change in (
        lambda: set_budget(ledger, "$5/day", "ann"),
        lambda: set_budget(ledger, "$6/day", "ann"),
        lambda: add_grant(ledger, grant),
        lambda: remove_grant(ledger, 1, "ann"),
        lambda: remove_budget(ledger, "$6/day", "ann"),
    ):
        change()
        seen_versions.append(version(ledger))
    assert seen_versions == sorted(set(seen_versions))
    assert rules(ledger).version == seen_versions[-1]


@pytest.mark.parametrize(
    ("rule", "author", "says"),
    [
        ("$5 a day", "ann", r"budget '\$5 a day'"),
        ("$5/day", " ", "a change of budgets and grants has an author; give a name"),
        (Budget(lambda tags: None, name="by plan"), "ann", "budget 'by plan' computes its limit"),
    ],
)
def test_a_wrong_budget_is_not_kept(ledger: Ledger, rule: str | Budget, author: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        set_budget(ledger, rule, author)
    assert rules(ledger, history=True).budgets == ()


def test_a_budget_that_contradicts_another_one_is_not_kept(ledger: Ledger) -> None:
    set_budget(ledger, "$5/day per user for plan=pro", "ann")
    with pytest.raises(ConfigError, match="plan=pro"):
        set_budget(ledger, "$9/day per user for region=eu", "ann")
    assert in_force(ledger) == ["$5.00/day per user for plan=pro"]


def test_a_grant_needs_an_author_and_a_reason(ledger: Ledger) -> None:
    account = Budget.parse("$5/day").account
    with pytest.raises(ConfigError, match="has an author"):
        add_grant(ledger, Grant(account, (), Decimal(1), "usd", NOW, None, "", "demo"))
    with pytest.raises(ConfigError, match="a grant has a reason"):
        add_grant(ledger, Grant(account, (), Decimal(1), "usd", NOW, None, "ann", "  "))


def test_of_many_who_set_the_same_budget_at_once_one_is_in_force(shared_url: str) -> None:
    ledgers = [open_ledger(shared_url) for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: set_budget(ledgers[n % 4], f"${n + 1}/day per user", f"ann {n}"), range(24)))
    history = rules(ledgers[0], history=True)
    assert len(history.budgets) == 24
    assert len(in_force(ledgers[0])) == 1
    assert version(ledgers[1]) == 24
    for ledger in ledgers:
        ledger.close()


def test_rules_are_kept_in_the_store_below_whatever_wraps_it(ledger: Ledger) -> None:
    set_budget(Wrapper(Wrapper(ledger)), "$5/day", "ann")
    assert in_force(ledger) == ["$5.00/day"]


def test_another_process_finds_what_was_set(shared_url: str) -> None:
    one, other = open_ledger(shared_url), open_ledger(shared_url)
    set_budget(one, EVERYTHING, "ann")
    assert [stored.budget for stored in rules(other).budgets] == [Budget.parse(EVERYTHING)]
    one.close()
    other.close()


def test_ledgers_in_memory_do_not_share_rules() -> None:
    set_budget(MemoryLedger(), "$5/day", "ann")
    assert version(MemoryLedger()) == 0


def test_the_budgets_of_running_windows_are_seen_as_calls_met_them(shared_url: str) -> None:
    ledger = open_ledger(shared_url)
    rule = '$1/day per user then fit at 90% named "small"'
    for user in ("alice", "bob"):
        one = hold(limit(rule, tags=Tags(user=user)), limit("$5/month"))
        assert ledger.reserve(one, NOW) is None
        ledger.settle(entry(one), one)
    assert {str(budget) for budget in seen(ledger, now_ns=NOW)} == {
        '$1.00/day per user then fit at 90% named "small"',
        "$5.00/month",
    }
    assert [str(budget) for budget in seen(ledger, now_ns=NOW + 2 * DAY)] == ["$5.00/month"]
    ledger.close()
