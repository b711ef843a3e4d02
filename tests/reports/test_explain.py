from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costguard import Guard
from costguard.adjustment import Adjustment
from costguard.call import Call
from costguard.errors import ConfigError
from costguard.events import Outcome
from costguard.ledger.base import Ledger
from costguard.ledger.deeds import Deed
from costguard.ledger.opening import open_ledger
from costguard.money import to_nanos
from costguard.pricing.rates import Rates
from costguard.pricing.usage import Usage
from costguard.reports import PARTS, Explanation, cache_savings, explain, spend
from tests.reports.scenes import at, ns, rates, spent

NOW = at("2026-11-22 12:00")
BEFORE, AFTER = "2026-11-10 10:00", "2026-11-20 10:00"
MILLION = 10**6


def explained(store: Ledger, by: str = "", **more: Any) -> Explanation:
    return explain(store, by, since="7d", now=NOW, **more)


def parts(made: Explanation) -> dict[str, Decimal]:
    """Those that are not zero."""
    assert sum(made.total.parts.values()) == made.total.change
    return {part: amount for part, amount in made.total.parts.items() if amount}


def used(into: int, out: int = 0, *, cached: int = 0, written: int = 0) -> Usage:
    return Usage(input_tokens=into, output_tokens=out, cache_read_tokens=cached, cache_write_tokens=written)


def test_more_calls_of_the_same_kind_are_volume(store: Ledger) -> None:
    for when, times in ((BEFORE, 2), (AFTER, 5)):
        for _ in range(times):
            spent(store, when, usage=used(MILLION), priced=rates())
    made = explained(store)
    assert parts(made) == {"volume": Decimal("0.03")}
    assert (made.total.before.calls, made.total.after.calls, made.total.change_share) == (2, 5, Decimal("1.5"))


def test_another_model_is_mix_and_comes_in_at_its_own_cost(store: Ledger) -> None:
    spent(store, BEFORE, usage=used(MILLION), priced=rates())
    spent(store, AFTER, usage=used(MILLION), priced=rates("o1", input=100, output=400), model="o1")
    assert parts(explained(store)) == {"models": Decimal("0.09")}


def test_a_model_that_is_gone_is_mix(store: Ledger) -> None:
    spent(store, BEFORE, usage=used(MILLION), priced=rates())
    spent(store, BEFORE, usage=used(MILLION), priced=rates("o1", input=100, output=400), model="o1")
    for _ in range(2):
        spent(store, AFTER, usage=used(MILLION), priced=rates())
    assert parts(explained(store)) == {"models": Decimal("-0.09")}


def test_longer_questions_and_longer_answers_are_told_apart(store: Ledger) -> None:
    spent(store, BEFORE, usage=used(1000, 100), priced=rates())
    spent(store, AFTER, usage=used(3000, 400), priced=rates())
    assert parts(explained(store)) == {"input": Decimal("0.00002"), "output": Decimal("0.000012")}


def test_what_a_cache_takes_off_is_its_own_part(store: Ledger) -> None:
    spent(store, BEFORE, usage=used(1000), priced=rates())
    spent(store, AFTER, usage=used(1000, cached=800), priced=rates())
    assert parts(explained(store)) == {"cache": Decimal("-0.000004")}


def test_another_price_for_the_same_tokens_is_price(store: Ledger) -> None:
    spent(store, BEFORE, usage=used(1000, 100), priced=rates())
    spent(store, AFTER, usage=used(1000, 100), priced=rates(input=8, cache_read=4, output=50))
    assert parts(explained(store)) == {"price": Decimal("-0.000001")}


def test_a_price_that_changes_within_a_period_is_price(store: Ledger) -> None:
    for when in (BEFORE, BEFORE, AFTER):
        spent(store, when, usage=used(1000), priced=rates())
    spent(store, AFTER, usage=used(1000), priced=rates(input=20, output=40))
    assert parts(explained(store)) == {"price": Decimal("0.00001")}


def test_batches_and_priority_are_tier(store: Ledger) -> None:
    spent(store, BEFORE, usage=used(1000), priced=rates())
    spent(store, AFTER, usage=used(1000), priced=rates(context=(("batch", "true"),), input=5, output=20))
    assert parts(explained(store)) == {"tier": Decimal("-0.000005")}


def test_fees_lost_calls_and_stated_costs_are_other(store: Ledger) -> None:
    spent(store, BEFORE, usage=used(1000), priced=rates())
    spent(store, AFTER, usage=used(1000), priced=rates(input=10, cache_read=5, output=40, requests=7000))
    assert parts(explained(store)) == {"other": Decimal("0.000007")}
    spent(store, AFTER, usage=Usage(), cost="0.5", model="gpt-5", status="lost")
    assert sum(explained(store).total.parts.values()) == Decimal("0.500017") - Decimal("0.00001")


def test_what_is_billed_beside_calls_is_other(store: Ledger) -> None:
    spent(store, BEFORE, usage=used(1000), priced=rates())
    spent(store, AFTER, usage=used(1000), priced=rates())
    spent(store, AFTER, usage=used(500), priced=rates("advisor"), model="advisor", attempts=0)
    assert parts(explained(store)) == {"other": Decimal("0.000005")}


def test_corrections_are_price(store: Ledger) -> None:
    spent(store, BEFORE, usage=used(1000), priced=rates())
    entry = spent(store, AFTER, usage=used(1000), priced=rates())
    dearer = rates(input=12, cache_read=5, output=40)
    correction = Adjustment.of(entry, 0, 2000, dearer, first_price=False, reason="a new list")
    store.adjust([correction], Deed("n1", ns(AFTER), "ann", "reprice", "a new list"))
    assert parts(explained(store)) == {"price": Decimal("0.000002")}


def test_a_first_price_makes_a_call_that_counts(store: Ledger) -> None:
    entry = spent(store, AFTER, usage=used(1000))
    assert explained(store).total.after.unpriced_calls == 1
    correction = Adjustment.of(entry, 0, 10_000, rates(), first_price=True, reason="a price")
    store.adjust([correction], Deed("n1", ns(AFTER), "ann", "reprice", "a price"))
    made = explained(store)
    assert (made.total.after.calls, made.total.after.unpriced_calls) == (1, 0)
    assert parts(made) == {"volume": Decimal("0.00001")}


def test_calls_without_a_price_stand_apart(store: Ledger) -> None:
    spent(store, BEFORE, usage=used(1000), priced=rates())
    spent(store, AFTER, usage=used(1000), priced=rates())
    spent(store, AFTER, model="made-up")
    made = explained(store, "user")
    assert parts(made) == {}
    assert (made.total.before.unpriced_calls, made.total.after.unpriced_calls) == (0, 1)
    assert made.total.after.calls == 1


def test_nothing_before_or_nothing_after_is_all_volume(store: Ledger) -> None:
    assert parts(explained(store)) == {}
    spent(store, AFTER, usage=used(1000, 100, cached=5), priced=rates())
    assert parts(explained(store)) == {"volume": Decimal("0.000013975")}
    assert explained(store).total.change_share is None
    empty = explain(store, since="2026-11-22", compare=("2026-11-20", "2026-11-21"), now=NOW)
    assert parts(empty) == {"volume": Decimal("-0.000013975")}


def test_calls_for_nothing_change_nothing(store: Ledger) -> None:
    free = rates(input=0, output=0)
    for when in (BEFORE, AFTER, AFTER):
        spent(store, when, usage=used(1000, 100), priced=free)
    assert parts(explained(store)) == {}


def test_each_group_is_explained_and_the_rest_together(store: Ledger) -> None:
    for feature, times in (("chat", 5), ("search", 3), ("tags", 2), ("mail", 1)):
        for when, more in ((BEFORE, 0), (AFTER, times)):
            for _ in range(1 + more):
                spent(store, when, usage=used(1000), priced=rates(), tags={"feature": feature})
    made = explained(store, "feature", most=2)
    assert [(row.group, row.change) for row in made.rows] == [
        ({"feature": "chat"}, Decimal("0.00005")),
        ({"feature": "search"}, Decimal("0.00003")),
        (None, Decimal("0.00003")),
    ]
    assert made.total.change == Decimal("0.00011")
    told = made.to_json()
    assert told["rows"][0]["parts"]["volume"] == "0.00005"
    assert told["parts"] == list(PARTS)
    assert told["rows"][2]["group"] is None


def test_what_came_to_nothing_has_no_row(store: Ledger) -> None:
    spent(store, AFTER, usage=used(0), priced=rates(), tags={"user": "bob"}, attempts=0, status="error")
    assert explained(store, "user").rows == ()


@pytest.mark.parametrize("order", [(2, 8), (8, 2)])
def test_what_was_not_used_has_the_price_that_most_calls_had(store: Ledger, order: tuple[int, int]) -> None:
    for cached in order:
        for _ in range(3 if cached == 2 else 1):
            spent(store, BEFORE, usage=used(MILLION), priced=rates(input=10, cache_read=cached, output=40))
    for _ in range(4):
        spent(
            store, AFTER, usage=used(MILLION, cached=MILLION), priced=rates(input=10, cache_read=2, output=40)
        )  # fmt: skip
    assert parts(explained(store)) == {"cache": Decimal("-0.032")}


def test_what_another_tier_made_cheaper_is_told(store: Ledger) -> None:
    spent(store, BEFORE, usage=used(500), priced=rates(), tags={"user": "alice"})
    spent(store, AFTER, usage=used(500), priced=rates(context=(("batch", "true"),), input=5, output=20))
    whole = explained(store, "user")
    assert whole.total.change == sum(whole.total.parts.values())
    assert explained(store, "").total.parts["tier"] < 0


def test_what_a_journal_still_has_is_explained_too(tmp_path: Path) -> None:
    with Guard(f"sqlite:///{tmp_path}/costs.db", prices={"openai/gpt-4o": {"input": "2.50", "output": "10"}}) as guard:
        call = Call("openai", "gpt-4o")
        guard.reserve(call)
        guard.settle(call, Outcome("ok", used(MILLION), model="gpt-4o"))
        assert explain(guard.ledger, since="1h").total.change == Decimal("2.5")
        assert cache_savings(guard.ledger).total.input_tokens == MILLION


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"by": "day"}, "names a time"),
        ({"most": 0}, "most=0"),
        ({"compare": None}, "needs two periods"),
        ({"since": None}, "no period before"),
    ],
)
def test_what_cannot_be_explained_is_named(asked: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        explain(open_ledger("memory://"), **asked, now=NOW)


MODELS = st.sampled_from(["a", "b", "c"])
PRICES = st.builds(
    lambda into, cached, out, fee, batch: Rates(
        "openai", "x", "test", {"input": into, "cache_read": cached, "output": out, "requests": fee},
        scale=11, context=(("batch", "true"),) if batch else (),
    ),
    st.integers(0, 5000), st.integers(0, 5000), st.integers(0, 9000), st.sampled_from([0, 0, 777]), st.booleans(),
)  # fmt: skip
USAGES = st.builds(
    lambda plain, cached, written, out, searches: Usage.of(
        {"input": plain, "cache_read": cached, "cache_write_5m": written, "output": out, "web_searches": searches}
    ),
    st.integers(0, 9000), st.integers(0, 900), st.integers(0, 90), st.integers(0, 999), st.integers(0, 1),
)  # fmt: skip
CALLS = st.lists(
    st.tuples(
        st.sampled_from([BEFORE, AFTER]), MODELS, USAGES, st.none() | PRICES, st.sampled_from("uvw"),
        st.sampled_from(["ok", "ok", "lost", "error"]), st.sampled_from([1, 1, 0, 3]),
    ),
    max_size=14,
)  # fmt: skip


@settings(max_examples=80)
@given(CALLS, st.sampled_from(["", "user", "user,model", "status"]), st.integers(1, 4))
def test_the_parts_add_up_to_the_last_nano_dollar(calls: list[Any], by: str, most: int) -> None:
    ledger = open_ledger("memory://")
    for when, model, usage, priced, user, status, attempts in calls:
        cost = "0.123456789" if status == "lost" else None
        spent(
            ledger, when, model=model, usage=usage, priced=None if cost else priced, cost=cost, tags={"user": user},
            status=status, attempts=attempts,
        )  # fmt: skip
    made = explained(ledger, by, most=most)
    for one in (*made.rows, made.total):
        assert sum(one.parts.values()) == one.change
        assert list(one.parts) == list(PARTS)
    totals = [spend(ledger, "", since=time.since, until=time.until).total for time in (made.before, made.after)]
    assert (made.total.before.cost, made.total.after.cost) == (totals[0].cost, totals[1].cost)
    for part in PARTS if made.rows else ():
        assert sum(row.parts[part] for row in made.rows) == made.total.parts[part]
    assert all(to_nanos(amount) == amount * 10**9 for amount in made.total.parts.values())


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    opened = open_ledger(f"sqlite:///{tmp_path_factory.mktemp('explain')}/costs.db")
    yield opened
    opened.close()


RUNS = count()


@settings(max_examples=15)
@given(calls=CALLS)
def test_a_database_explains_as_memory_does(base: Ledger, calls: list[Any]) -> None:
    memory = open_ledger("memory://")
    run = str(next(RUNS))
    for when, model, usage, priced, user, status, attempts in calls:
        for ledger in (memory, base):
            spent(
                ledger, when, model=model, usage=usage, priced=priced, tags={"user": user, "run": run}, status=status,
                attempts=attempts,
            )  # fmt: skip
    where = {"run": run}
    assert explained(base, "user", where=where).to_json() == explained(memory, "user", where=where).to_json()
