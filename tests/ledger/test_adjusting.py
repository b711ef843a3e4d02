"""`adjust`: corrections of what calls cost, on every store."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from threading import Barrier, Thread

import pytest

from costguard.adjustment import Adjustment, adjustment_id
from costguard.budgets import Budget, Limit
from costguard.errors import ConfigError
from costguard.events import Entry
from costguard.ledger.audit import audit
from costguard.ledger.base import Ledger
from costguard.ledger.deeds import Deed
from costguard.ledger.journal import JournalLedger
from costguard.ledger.leases import LeaseLedger
from costguard.ledger.opening import open_ledger
from costguard.pricing.rates import Rates
from costguard.pricing.usage import Usage
from costguard.tags import Tags
from tests.ledger import valkey
from tests.ledger.stores import new_url
from tests.ledger.values import ALICE, CENT, DAY, NOW, SECOND, entry, hold, limit

STORES = ("memory", "sqlite", "postgres", "leases", "valkey")
RATES = Rates("openai", "gpt-4o", "override", {"input": 2500, "output": 10_000})
RULES = ("$1/day per user", "$5/month", "$9/7d", "9000 tokens/day per user", "120 calls/day")
BOB = Tags(user="bob", feature="chat")


@pytest.fixture(params=STORES)
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    opened: Ledger
    if request.param == "memory":
        opened = open_ledger("memory://")
    elif request.param == "valkey":
        opened = valkey.opened(new_url("sqlite", tmp_path), valkey.server().url())
    elif request.param == "leases":
        journal = JournalLedger(open_ledger(new_url("sqlite", tmp_path)), tmp_path / "journal")
        opened = LeaseLedger(journal, clock=lambda: NOW)
        opened.open()
    else:
        opened = open_ledger(new_url(request.param, tmp_path))
    yield opened
    opened.close()


def spend(
    ledger: Ledger, cents: float | None = 10, tags: Tags = ALICE, at_ns: int = NOW, rules: tuple[str, ...] = RULES
) -> Entry:
    limits: list[Limit] = [limit(rule, tags, at_ns) for rule in rules]
    held = hold(*limits, cents=cents or 0, tags=tags, at_ns=at_ns)
    held.limits = tuple(limits)
    assert ledger.reserve(held, at_ns) is None
    made = entry(held, cents, estimated=True)
    assert ledger.settle(made, held) is not None
    return made


def correction(of: Entry, cents: float, before: int = 0, *, first_price: bool = False) -> Adjustment:
    return Adjustment.of(of, before, int(cents * CENT), RATES, first_price=first_price, reason="price changed")


def deed(nonce: str = "one", at_ns: int = NOW, **details: object) -> Deed:
    return Deed(nonce, at_ns, "ann", "reprice", "a new price list", details)


def balances(ledger: Ledger, *rules: str, tags: Tags = ALICE, at_ns: int = NOW) -> list[int]:
    return [spent for spent, _ in ledger.balances([limit(rule, tags, at_ns) for rule in rules])]


def test_a_correction_counts_where_its_call_counted_and_is_no_call(ledger: Ledger) -> None:
    mine, his = spend(ledger), spend(ledger, 20, BOB)
    one = correction(mine, 5)
    assert ledger.adjust([one], deed()).new == {one.call_id}
    assert balances(ledger, *RULES) == [15 * CENT, 35 * CENT, 35 * CENT, 110, 2]
    assert balances(ledger, RULES[0], tags=BOB) == [20 * CENT]
    assert ledger.spent({}) == 35 * CENT
    assert ledger.spent({"user": "alice"}) == 15 * CENT
    (line,) = ledger.sums(["user", "operation"], {"user": "alice"})
    assert (line.calls, line.cost, line.input_tokens, line.estimated_calls, line.estimated_cost) == (
        1, 15 * CENT, 100, 1, 15 * CENT,
    )  # fmt: skip
    assert audit(ledger, now_ns=NOW).differences == []
    assert his.nanos == 20 * CENT


def test_a_correction_is_listed_beside_its_call_and_says_what_it_corrects(ledger: Ledger) -> None:
    mine = spend(ledger)
    ledger.adjust([correction(mine, -4)], deed())
    found, call = ledger.entries({"user": "alice"})
    assert isinstance(found, Adjustment)
    assert (found.adjusts, found.status, found.cost, found.at) == (mine.call_id, "adjusted", Decimal("-0.04"), mine.at)
    assert (found.provider, found.model, found.operation, found.tags) == ("openai", "gpt-4o", "chat", ALICE)
    assert (found.usage, found.receipt, found.reason, found.rates) == (Usage(), None, "price changed", RATES)
    assert (call.adjusts, call.nanos, call.usage) == (None, mine.nanos, mine.usage)


def test_the_same_correction_again_adds_nothing(ledger: Ledger) -> None:
    mine = spend(ledger)
    one = correction(mine, 5)
    ledger.adjust([one], deed())
    assert ledger.adjust([one, one], deed("two")).new == frozenset()
    # Another difference, of one who did not see the first: only one of the two is recorded.
    assert ledger.adjust([correction(mine, 7)], deed("two")).new == frozenset()
    assert ledger.spent({}) == 15 * CENT
    assert len(ledger.deeds()) == 1
    ledger.adjust([correction(mine, -3, before=1)], deed("two"))
    assert balances(ledger, *RULES[:3]) == [12 * CENT] * 3
    assert audit(ledger, now_ns=NOW).differences == []


def test_two_that_correct_at_once_record_each_correction_once(shared_url: str) -> None:
    ledger, other = open_ledger(shared_url), open_ledger(shared_url)
    calls = [spend(ledger, 1, Tags(user=f"user{number % 7}")) for number in range(40)]
    start = Barrier(2, timeout=30)
    new: list[int] = []

    def work(one: Ledger, cents: int) -> None:
        start.wait()
        lot = [correction(call, cents) for call in calls]
        new.append(len(one.adjust(lot if cents == 1 else lot[::-1], deed(str(cents))).new))

    threads = [Thread(target=work, args=(one, cents)) for one, cents in ((ledger, 1), (other, 2))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(new) == [0, 40]
    assert audit(ledger, now_ns=NOW).differences == []
    assert sum(one.status == "adjusted" for one in ledger.entries({})) == 40
    (found,) = ledger.deeds()
    assert found.details["adjusted"] == 40
    ledger.close()
    other.close()


def test_a_call_without_a_price_that_gets_one_is_unpriced_no_more(ledger: Ledger) -> None:
    mine = spend(ledger, None)
    spend(ledger, None, BOB)
    assert [(line.unpriced_calls, line.unpriced_tokens) for line in ledger.sums([], {})] == [(2, 220)]
    ledger.adjust([correction(mine, 8, first_price=True)], deed())
    (line,) = ledger.sums(["operation"], {})
    assert (line.calls, line.cost, line.unpriced_calls, line.unpriced_tokens) == (2, 8 * CENT, 1, 110)
    ledger.adjust([correction(mine, 1, before=1)], deed())
    assert [(line.unpriced_calls, line.unpriced_tokens) for line in ledger.sums(["model"], {})] == [(1, 110)]


def test_the_window_of_the_call_is_corrected_and_not_that_of_today(ledger: Ledger) -> None:
    yesterday = spend(ledger, at_ns=NOW - DAY)
    spend(ledger)
    ledger.adjust([correction(yesterday, 5)], deed())
    assert balances(ledger, RULES[0]) == [10 * CENT]
    assert balances(ledger, RULES[0], at_ns=NOW - DAY) == [15 * CENT]
    assert audit(ledger, now_ns=NOW).differences == []


def test_a_payer_who_had_no_balance_yet_gets_one_while_the_window_lasts(ledger: Ledger) -> None:
    """A call without a price makes none."""
    old, mine = spend(ledger, None, at_ns=NOW - 3 * DAY, rules=()), spend(ledger, None, rules=())
    spend(ledger, tags=BOB, at_ns=NOW - 3 * DAY, rules=RULES[:1])
    spend(ledger, tags=BOB, rules=RULES[:1])
    ledger.adjust([correction(mine, 5, first_price=True), correction(old, 5, first_price=True)], deed())
    assert balances(ledger, RULES[0]) == [5 * CENT]
    assert balances(ledger, RULES[0], at_ns=NOW - 3 * DAY) == [0]
    found = audit(ledger, now_ns=NOW)
    assert (found.balances, found.differences) == (3, [])
    ledger.adjust([correction(mine, -6, 1)], deed("two"))
    assert balances(ledger, RULES[0]) == [-CENT]


def test_of_budgets_in_force_that_nobody_was_counted_by_balances_are_made(ledger: Ledger) -> None:
    mine, before = spend(ledger, None, rules=()), spend(ledger, None, at_ns=NOW - 5 * DAY, rules=())
    less = spend(ledger, 9, BOB, rules=())
    budgets = [Budget.parse(rule) for rule in (*RULES, "$9/call", "$7/day per user for user=carol")]
    lot = [correction(mine, 5), correction(before, 3), correction(less, -2)]
    ledger.adjust(lot, deed(), budgets)
    assert balances(ledger, *RULES) == [5 * CENT, 6 * CENT, 3 * CENT, 0, 0]
    assert balances(ledger, RULES[0], tags=BOB) == [0]
    assert balances(ledger, "$9/7d", at_ns=NOW - 5 * DAY) == [3 * CENT]


def test_less_than_nothing_is_kept_as_it_is_and_mended_by_the_rows(ledger: Ledger) -> None:
    """A budget that joined after the call counts only the correction: to cut it at zero would hide the difference."""
    early = spend(ledger, rules=RULES[:1])
    spend(ledger, 1, BOB, rules=RULES[1:2])
    ledger.adjust([correction(early, -9)], deed())
    assert balances(ledger, RULES[1]) == [-8 * CENT]
    assert ledger.reserve(hold(limit(RULES[1]), cents=500), NOW) is None
    (found,) = audit(ledger, now_ns=NOW, repair=True).differences
    assert (found.spent_recorded, found.spent_entries) == (-8 * CENT, 2 * CENT)
    assert balances(ledger, RULES[1]) == [2 * CENT]


def test_what_is_corrected_beyond_a_limit_refuses_the_next_call_and_is_told_once(ledger: Ledger) -> None:
    mine = spend(ledger, 70, rules=RULES[:1])
    adjusted = ledger.adjust([correction(mine, 40)], deed(at_ns=NOW + SECOND))
    assert [(one.fraction, one.spent, one.at_ns) for one in adjusted.crossings] == [
        (Decimal("0.8"), 110 * CENT, NOW + SECOND), (Decimal(1), 110 * CENT, NOW + SECOND),
    ]  # fmt: skip
    assert ledger.undelivered() == 3 if len(adjusted.crossings) == 3 else 2
    assert ledger.reserve(hold(cents=1), NOW) is not None
    ledger.adjust([correction(mine, -90, 1)], deed("two"))
    assert ledger.reserve(hold(cents=50), NOW) is None
    assert ledger.adjust([correction(mine, 90, 2)], deed("three")).crossings == ()


def test_a_window_that_is_over_is_corrected_and_not_told_of(ledger: Ledger) -> None:
    old = spend(ledger, 70, at_ns=NOW - 3 * DAY, rules=RULES[:1])
    assert ledger.adjust([correction(old, 40)], deed()).crossings == ()
    assert balances(ledger, RULES[0], at_ns=NOW - 3 * DAY) == [110 * CENT]


def test_a_deed_tells_who_did_what_and_how_much_of_it(ledger: Ledger) -> None:
    first, second = spend(ledger), spend(ledger)
    ledger.adjust([correction(first, 5)], deed(since="7d"))
    ledger.adjust([correction(second, -2)], deed(since="7d"))
    ledger.adjust([], deed("nothing"))
    ledger.adjust([correction(second, 1, 1)], deed("two", NOW + DAY))
    later, found = ledger.deeds()
    assert (found.author, found.action, found.reason, found.at_ns) == ("ann", "reprice", "a new price list", NOW)
    assert found.details == {"since": "7d", "adjusted": 2, "nanos": 3 * CENT}
    assert (later.nonce, later.details) == ("two", {"adjusted": 1, "nanos": CENT})
    assert [one.nonce for one in ledger.deeds(most=1)] == ["two"]


def test_a_deed_has_an_author() -> None:
    with pytest.raises(ConfigError, match="a reprice has an author"):
        Deed("one", NOW, " ", "reprice")


def test_corrections_are_forgotten_with_their_calls(ledger: Ledger) -> None:
    old, kept = spend(ledger, at_ns=NOW - 70 * DAY), spend(ledger)
    ledger.adjust([correction(old, 5), correction(kept, 5)], deed())
    assert ledger.retain(NOW - 31 * DAY) == 2
    assert {one.call_id for one in ledger.entries({})} == {kept.call_id, correction(kept, 5).call_id}
    assert audit(ledger, now_ns=NOW).differences == []


def test_the_id_of_a_correction_begins_with_the_time_of_its_call() -> None:
    at = 1_795_000_000_123 * 10**6
    first = adjustment_id("018f0000-0000-7000-8000-000000000000", at, 0)
    assert first[:8] + first[9:13] == f"{1_795_000_000_123:012x}"
    assert (first[14], first[19] in "89ab") == ("8", True)
    assert first != adjustment_id("018f0000-0000-7000-8000-000000000000", at, 1)
    assert first == adjustment_id("018f0000-0000-7000-8000-000000000000", at + 999, 0)


def test_thousands_of_corrections_are_one_transaction(ledger: Ledger) -> None:
    calls = [
        spend(ledger, 0.01, Tags(user=f"user{number % 50}"), rules=("$1000/month per user",)) for number in range(1200)
    ]
    adjusted = ledger.adjust([correction(call, 0.01) for call in calls], deed())
    assert len(adjusted.new) == 1200
    assert audit(ledger, now_ns=NOW).differences == []
    assert ledger.spent({"user": "user7"}) == 24 * 2 * CENT // 100
