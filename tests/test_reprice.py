"""Past calls priced anew: what differs, what is recorded, and that it is recorded once."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from costguard import Guard
from costguard.adjustment import Adjustment
from costguard.budgets import Budget
from costguard.call import Call, new_call_id
from costguard.errors import ConfigError
from costguard.events import Entry, Hold, Outcome
from costguard.ledger.audit import audit
from costguard.ledger.base import Ledger
from costguard.ledger.memory import MemoryLedger
from costguard.ledger.opening import open_ledger
from costguard.pricing.book import PriceBook
from costguard.pricing.usage import Usage
from costguard.reports.spend import spend
from costguard.reprice import reprice
from costguard.repricing import Repricing
from costguard.tags import Tags
from tests.ledger.stores import new_url

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
NOON = int(NOW.timestamp()) * 10**9
HOUR = 3600 * 10**9
USAGE = Usage(input_tokens=1_000_000, output_tokens=100_000)


def book(**prices: str) -> PriceBook:
    """USD per million tokens, in and out alike."""
    return PriceBook({name.replace("_", "-"): {"input": price, "output": price} for name, price in prices.items()})


def call(
    ledger: Ledger,
    prices: PriceBook,
    model: str = "mine",
    *,
    provider: str = "openai",
    user: str = "alice",
    at_ns: int = NOON,
    usage: Usage = USAGE,
    context: tuple[tuple[str, str], ...] = (),
    rules: Sequence[Budget] = (),
    **more: Any,
) -> Entry:
    rates = prices.rates(provider, model, at_ns, context) or prices.without(provider, model, context)
    known = rates is not None and rates.priced_any(usage)
    nanos = more.pop("nanos", rates.nanos(usage) if rates is not None and known else None)
    rates = more.pop("rates", rates)
    made = Entry(
        new_call_id(at_ns), at_ns, provider, model, "chat", nanos, usage, rates, tags=Tags(user=user), **more
    )  # fmt: skip
    held = Hold(Call(provider, model, tags=made.tags), tuple(one.limit_for(made.tags, at_ns) for one in rules), 0, 0)
    held.call.id = made.call_id
    assert ledger.settle(made, held if rules else None) is not None
    return made


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    opened = open_ledger("memory://" if request.param == "memory" else new_url(request.param, tmp_path))
    yield opened
    opened.close()


def cost(ledger: Ledger, **tags: str) -> str:
    return f"{Decimal(ledger.spent(tags)).scaleb(-9).normalize():f}"


def test_a_dry_run_tells_the_difference_by_model_and_payer_and_writes_nothing(ledger: Ledger) -> None:
    old, new = book(mine="1", other="2"), book(mine="3", other="1")
    for user, model in (("alice", "mine"), ("alice", "mine"), ("bob", "mine"), ("bob", "other")):
        call(ledger, old, model, user=user)
    found = reprice(ledger, new, now=NOW)
    by_model = found.by("provider", "model")
    assert [(dict(one.group), one.calls, one.before, one.after, one.difference) for one in by_model] == [
        ({"provider": "openai", "model": "mine"}, 3, Decimal("3.3"), Decimal("9.9"), Decimal("6.6")),
        ({"provider": "openai", "model": "other"}, 1, Decimal("2.2"), Decimal("1.1"), Decimal("-1.1")),
    ]  # fmt: skip
    assert [(one.group["user"], one.difference) for one in found.by("user")] == [
        ("alice", Decimal("4.4")), ("bob", Decimal("1.1")),
    ]  # fmt: skip
    assert (found.total.difference, found.calls, found.unchanged, found.written) == (Decimal("5.5"), 4, 0, 0)
    assert cost(ledger) == "5.5"
    assert ledger.deeds() == []


def test_what_differs_is_recorded_once(ledger: Ledger) -> None:
    old, new = book(mine="1"), book(mine="3")
    first = call(ledger, old)
    assert reprice(ledger, new, dry_run=False, author="ann", reason="a new list").written == 1
    assert cost(ledger) == "3.3"
    again = reprice(ledger, new, dry_run=False, author="ann")
    assert (again.written, again.unchanged, again.total.calls) == (0, 1, 0)
    (adjustment, kept) = ledger.entries({})
    assert isinstance(adjustment, Adjustment)
    assert (adjustment.adjusts, adjustment.nanos, adjustment.at_ns) == (first.call_id, 2_200_000_000, NOON)
    assert (kept.nanos, kept.receipt and kept.receipt.cost) == (1_100_000_000, Decimal("1.1"))
    assert f"call {first.call_id} priced anew: " in str(adjustment.reason)
    (deed,) = ledger.deeds()
    assert (deed.author, deed.reason, deed.details["adjusted"], deed.details["nanos"]) == (
        "ann", "a new list", 1, 2_200_000_000,
    )  # fmt: skip


def test_prices_that_change_and_change_back_are_followed(ledger: Ledger) -> None:
    one, three = book(mine="1"), book(mine="3")
    call(ledger, one)
    for prices, total in ((three, "3.3"), (one, "1.1"), (three, "3.3"), (book(mine="2"), "2.2")):
        assert reprice(ledger, prices, dry_run=False, author="ann").written == 1
        assert cost(ledger) == total
    assert reprice(ledger, book(mine="2")).total.calls == 0


def test_a_call_that_had_no_price_gets_its_whole_cost_and_is_unpriced_no_more(ledger: Ledger) -> None:
    call(ledger, book(), user="bob")
    assert spend(ledger, "user").total.unpriced_calls == 1
    found = reprice(ledger, book(mine="1"), dry_run=False, author="ann")
    assert [(one.unpriced, one.before, one.after) for one in found.differences] == [(1, Decimal(0), Decimal("1.1"))]
    report = spend(ledger, "user")
    assert (report.total.unpriced_calls, report.total.unpriced_tokens, report.total.cost) == (0, 0, Decimal("1.1"))
    assert report.total.calls == 1


def test_one_that_turns_out_to_be_free_is_priced_too(ledger: Ledger) -> None:
    call(ledger, book())
    assert reprice(ledger, book(mine="0"), dry_run=False, author="ann").written == 1
    assert spend(ledger, "").total.unpriced_calls == 0
    assert reprice(ledger, book(mine="0"), dry_run=False, author="ann").written == 0


def test_what_still_has_no_price_is_listed(ledger: Ledger) -> None:
    call(ledger, book(), "unheard-of")
    call(ledger, book(), "unheard-of")
    found = reprice(ledger, book(mine="1"))
    assert found.unpriced == {("openai", "unheard-of"): (2, 2_200_000)}
    assert found.differences == ()


@pytest.mark.parametrize("status", ["lost", "pending"])
def test_what_has_not_ended_and_what_was_not_billed_stays(ledger: Ledger, status: str) -> None:
    call(ledger, book(mine="1"), status=status)
    call(ledger, book(mine="1"), status="error", nanos=0, rates=None, usage=Usage())
    found = reprice(ledger, book(mine="3"), dry_run=False, author="ann")
    assert found.kept == {"open": 1, "free": 1}
    assert found.written == 0


def test_what_a_provider_reported_stays_unless_asked_for(ledger: Ledger) -> None:
    prices = book(mine="1")
    guard = Guard(ledger, prices={"mine": {"input": "1", "output": "1"}})
    one = Call("openai", "mine", tags=Tags(user="alice"))
    guard.settle(one, Outcome("ok", USAGE, reported=7_000_000_000))
    assert cost(ledger) == "7"
    assert reprice(ledger, prices, dry_run=False, author="ann").kept == {"reported": 1}
    assert reprice(ledger, prices, dry_run=False, author="ann", reported=True).written == 1
    assert cost(ledger) == "1.1"


def test_the_apps_own_prices_are_not_replaced_by_the_shipped_list_unless_asked_for(ledger: Ledger) -> None:
    call(ledger, PriceBook({"gpt-4o": {"input": "1", "output": "1"}}), "gpt-4o")
    found = reprice(ledger, PriceBook(), dry_run=False, author="ann")
    assert (found.kept, found.written) == ({"own prices": 1}, 0)
    call(ledger, book(mine="1"))
    assert reprice(ledger, PriceBook()).kept == {"own prices": 1, "no price": 1}
    assert reprice(ledger, PriceBook(), dry_run=False, author="ann", overridden=True).written == 1
    # $2.50 and $10 per million tokens.
    assert cost(ledger) == "4.6"


def test_a_call_is_priced_as_it_was_made_a_batch_as_a_batch(ledger: Ledger) -> None:
    shipped = PriceBook()
    for context in ((), (("batch", "true"),), (("service_tier", "batch"),)):
        call(ledger, shipped, "claude-sonnet-4-5", provider="anthropic", context=context)
        call(ledger, PriceBook({"x": {"input": "1"}}), "unheard-of", context=context)
    assert cost(ledger) == "16.5"
    assert reprice(ledger, shipped).unchanged == 3
    kept = {entry.rates.context for entry in ledger.entries({}) if entry.rates}
    assert kept == {(), (("processing", "batch"),)}


def test_a_guard_keeps_what_a_price_depends_on_also_where_there_is_none() -> None:
    with Guard("memory://") as guard:
        for model in ("gpt-4o", "unheard-of"):
            guard.settle(
                Call("openai", model), Outcome("ok", Usage(input_tokens=5), context=(("service_tier", "flex"),))
            )
            guard.settle(
                Call("openai", model), Outcome("ok", Usage(input_tokens=5), context=(("service_tier", "default"),))
            )
        kept = [(one.model, one.rates and one.rates.context, one.cost is None) for one in guard.entries()[::-1]]
    flex = (("service_tier", "flex"),)
    assert kept == [
        ("gpt-4o", flex, False), ("gpt-4o", (), False), ("unheard-of", flex, True), ("unheard-of", None, True),
    ]  # fmt: skip


def test_the_time_the_provider_and_the_model_can_be_chosen(ledger: Ledger) -> None:
    old, new = book(mine="1", other="1"), book(mine="2", other="2")
    call(ledger, old, at_ns=NOON - 48 * HOUR)
    call(ledger, old)
    call(ledger, old, "other")
    assert reprice(ledger, new, since="1d", now=NOW).total.calls == 2
    assert reprice(ledger, new, until=NOW - timedelta(hours=1), now=NOW).total.calls == 1
    assert reprice(ledger, new, model="other").total.calls == 1
    assert reprice(ledger, new, provider="anthropic").calls == 0
    with pytest.raises(ConfigError, match="is not before until"):
        reprice(ledger, new, since="1d", until="2d")


def test_more_calls_than_a_page_has_are_all_looked_at_also_at_one_moment(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("costguard.reprice.PAGE", 4)
    monkeypatch.setattr("costguard.reprice.BATCH", 3)
    old, new = book(mine="1"), book(mine="2")
    for number in range(9):
        call(ledger, old, at_ns=NOON - number // 2 * HOUR)
    for _ in range(7):
        call(ledger, old, at_ns=NOON - 20 * HOUR)
    call(ledger, old, at_ns=NOON - 21 * HOUR)
    told: list[int] = []
    found = reprice(ledger, new, dry_run=False, author="ann", progress=told.append)
    assert (found.calls, found.written, told[-1]) == (17, 17, 17)
    again = reprice(ledger, new, dry_run=False, author="ann")
    assert (again.calls, again.unchanged, again.written) == (17, 17, 0)
    assert reprice(ledger, book(mine="3"), dry_run=False, author="ann").written == 17
    assert cost(ledger) == "56.1"
    assert audit(ledger).ok


def test_two_at_once_record_each_difference_once(tmp_path: Path) -> None:
    for store in ("sqlite", "postgres"):
        url = new_url(store, tmp_path)
        ledgers = [open_ledger(url) for _ in range(2)]
        for number in range(60):
            call(ledgers[0], book(mine="1"), user=f"user{number % 5}", at_ns=NOON + number)
        start = Barrier(2, timeout=30)
        found: list[Repricing] = []

        def work(one: Ledger, start: Barrier = start, found: list[Repricing] = found) -> None:
            start.wait()
            found.append(reprice(one, book(mine="2"), dry_run=False, author="ann"))

        threads = [Thread(target=work, args=(one,)) for one in ledgers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert sum(one.written for one in found) == 60
        assert cost(ledgers[0]) == "132"
        for one in ledgers:
            one.close()


@pytest.mark.parametrize("engine", ["direct", "leases"])
def test_a_guard_corrects_its_open_windows_and_refuses_what_no_longer_fits(tmp_path: Path, engine: Any) -> None:
    url = f"sqlite:///{tmp_path}/costs.db"
    told: list[str] = []
    rules = ["$5/day per user", "$20/month"]
    with Guard(
        url, rules, engine=engine, prices={"mine": {"input": "1", "output": "1"}}, journal=tmp_path / "j"
    ) as one:
        for user in ("alice", "alice", "bob"):
            asked = Call("openai", "mine", tags=Tags(user=user), input_tokens=1000, max_output_tokens=100)
            one.reserve(asked)
            one.settle(asked, Outcome("ok", USAGE))
        assert [str(standing.spent) for standing in one.standings(user="alice")] == ["2.200000000", "3.300000000"]
        # Another process, with other prices, and leases of its own.
        prices = {"mine": {"input": "3", "output": "3"}}
        with Guard(
            url, rules, [lambda alert: told.append(alert.title)], engine=engine, prices=prices, journal=tmp_path / "k"
        ) as two:
            assert two.reprice(since="1d").total.difference == Decimal("6.6")
            assert two.reprice(since="1d", dry_run=False, author="ann").written == 3
            two.flush()
        assert [standing.spent for standing in one.standings(user="alice")] == [Decimal("6.6"), Decimal("9.9")]
        assert one.spent(user="bob") == Decimal("3.3")
        with pytest.raises(Exception, match="alice has spent") as refused:
            one.check({"user": "alice"})
        assert type(refused.value).__name__ == "BudgetExceeded"
        one.check({"user": "bob"})
    assert "alice has reached 100 % of $5.00/day per user" in told
    ledger = open_ledger(url)
    assert audit(ledger).differences == []
    ledger.close()


def test_a_mark_of_a_rolling_window_is_told_also_where_an_earlier_bucket_is_corrected(ledger: Ledger) -> None:
    rule = Budget.parse("$10/7d per user")
    now = time.time_ns()
    for at in (now, now - 48 * HOUR, now - 24 * 20 * HOUR):
        call(ledger, book(mine="1"), at_ns=at, rules=[rule])
    found = reprice(ledger, book(mine="4"), dry_run=False, author="ann", budgets=[rule])
    assert (found.written, found.crossings) == (3, 2)
    _, parcel = ledger.claim(now + HOUR, lease_ns=HOUR)
    assert [parcel.payload[name] for name in ("fraction", "spent", "limit")] == ["0.8", 8_800_000_000, 10_000_000_000]


def test_a_store_without_the_verb_is_named() -> None:
    class Old:
        url = "old://"

    with pytest.raises(ConfigError, match="the store old:// cannot adjust: a Old has no verb"):
        reprice(Old(), book())  # type: ignore[arg-type]


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("call"),
            st.sampled_from(["mine", "other", "unheard-of"]),
            st.sampled_from(["alice", "bob"]),
            st.sampled_from([0, 1, 30, 24 * 8]),
            st.integers(1, 3),
        ),
        st.tuples(
            st.just("reprice"), st.integers(0, 4), st.integers(0, 4), st.booleans(), st.sampled_from(["all", "2d"])
        ),
    ),
    min_size=1, max_size=12,
)  # fmt: skip
RULES = ("$5/day per user", "$90/month", "$20/7d per user", "$1000/ever", "100 calls/day")


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_whatever_is_called_and_repriced_the_balances_are_the_rows(steps: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        stores: list[Ledger] = [MemoryLedger(), open_ledger(f"sqlite:///{folder}/costs.db")]
        prices = book(mine="1", other="2")
        for step in steps:
            if step[0] == "call":
                _, model, user, hours, size = step
                at = NOON - hours * HOUR
                tags = Tags(user=user)
                limits = tuple(Budget.parse(rule).limit_for(tags, at) for rule in RULES)
                usage = Usage(input_tokens=size * 1000)
                rates = prices.rates("openai", model, at)
                nanos = None if rates is None else rates.nanos(usage)
                made = Entry(new_call_id(at), at, "openai", model, "chat", nanos, usage, rates, tags=tags)
                held = Call("openai", model, tags=tags)
                held.id, held.started_ns = made.call_id, at
                for ledger in stores:
                    ledger.settle(made, Hold(held, limits, 0, 0))
            else:
                _, one, other, dry, since = step
                given_prices = {"mine": str(one), "other": str(other)} | ({"unheard_of": "1"} if one % 2 else {})
                found = [
                    reprice(
                        ledger, book(**given_prices), since=None if since == "all" else since, now=NOW, dry_run=dry,
                        author="ann", budgets=[Budget.parse(rule) for rule in RULES],
                    ).to_json()
                    for ledger in stores
                ]  # fmt: skip
                assert found[0] == found[1]
        for ledger in stores:
            assert audit(ledger, now_ns=NOON).differences == []
        seen = [ledger.sums(["user", "model", "status"], {}) for ledger in stores]
        assert seen[0] == seen[1]
        assert all(line.unpriced_calls >= 0 and line.cost >= 0 for line in stores[1].sums(["model"], {}))
        stores[1].close()


def test_the_result_can_be_told_to_programs(ledger: Ledger) -> None:
    call(ledger, book(mine="1"))
    call(ledger, book(), "unheard-of")
    told = json.loads(json.dumps(reprice(ledger, book(mine="2"), since=NOW - timedelta(days=9), now=NOW).to_json()))
    assert told["total"] == {
        "group": {}, "calls": 1, "unpriced": 0, "before": "1.10", "after": "2.20", "difference": "1.10",
    }  # fmt: skip
    assert told["by_payer"][0]["group"] == {"user": "alice"}
    assert told["unpriced"] == [{"provider": "openai", "model": "unheard-of", "calls": 1, "tokens": 1_100_000}]
    assert time.strptime(told["since"][:10], "%Y-%m-%d")


def test_an_app_with_a_short_decimal_context_gets_the_exact_difference() -> None:
    ledger = open_ledger("memory://")
    for user in ("alice", "bob"):
        call(ledger, book(mine="1.000000001"), user=user)
    with localcontext(prec=3):
        assert reprice(ledger, book(mine="2.123456789"), now=NOW).total.difference == Decimal("2.471604934")
