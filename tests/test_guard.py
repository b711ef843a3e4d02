from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from costguard import (
    Budget,
    BudgetExceeded,
    ConfigError,
    Guard,
    Refused,
    Settled,
    StoreUnavailable,
    UnpricedModel,
    Usage,
    current_tags,
    tagged,
)
from costguard.call import Call
from costguard.events import Outcome
from costguard.ledger.memory import MemoryLedger

TEN_CENTS = Usage(output_tokens=10_000)  # of gpt-4o, at $10 for a million


class Switch(MemoryLedger):
    """A store that can be cut off."""

    down = False

    def reserve(self, *args: Any, **kwargs: Any) -> Any:
        self._reach()
        return super().reserve(*args, **kwargs)

    def settle(self, *args: Any, **kwargs: Any) -> Any:
        self._reach()
        return super().settle(*args, **kwargs)

    def balances(self, *args: Any, **kwargs: Any) -> Any:
        self._reach()
        return super().balances(*args, **kwargs)

    def _reach(self) -> None:
        if self.down:
            raise StoreUnavailable("the store is cut off")


@pytest.fixture
def guard() -> Iterator[Guard]:
    with Guard("memory://", budgets=["$1/day per user"], wait=0) as guard:
        yield guard


def call(**given: Any) -> Call:
    given.setdefault("max_output_tokens", 10_000)
    return Call("openai", "gpt-4o", **given)


def pay(guard: Guard, usage: Usage | None = TEN_CENTS, **given: Any) -> Call:
    made = call(**given)
    guard.reserve(made)
    guard.settle(made, Outcome("ok", usage))
    return made


def test_a_settled_call_is_one_entry_with_its_tags_cost_and_receipt(guard: Guard) -> None:
    with tagged(user="alice", feature="chat", environment="production", team="blue"):
        made = pay(guard, Usage(input_tokens=1_000, cache_read_tokens=400, output_tokens=100, reasoning_tokens=60))
    (entry,) = guard.entries(user="alice", team="blue")
    assert entry.call_id == made.id
    assert (entry.provider, entry.model, entry.status, entry.estimated) == ("openai", "gpt-4o", "ok", False)
    assert entry.tags == {"user": "alice", "feature": "chat", "environment": "production", "team": "blue"}
    assert entry.cost == Decimal("0.003") == 600 * Decimal("2.5e-6") + 400 * Decimal("1.25e-6") + 100 * Decimal("1e-5")
    assert entry.currency == "USD"
    assert entry.receipt is not None
    assert {line.bucket: line.subtotal for line in entry.receipt.lines} == {
        "input": Decimal("0.0015"), "cache_read": Decimal("0.0005"), "output": Decimal("0.001"),
    }  # fmt: skip
    assert (entry.usage.input_tokens, entry.usage.output_tokens, entry.usage.reasoning_tokens) == (1_000, 100, 60)
    assert guard.spent(user="alice") == guard.spent() == entry.cost
    assert guard.spent(user="bob") == 0


def test_a_call_that_does_not_fit_is_refused_with_who_what_and_when(guard: Guard) -> None:
    with tagged(user="alice"):
        for _ in range(10):
            pay(guard)
        with pytest.raises(
            BudgetExceeded, match=r"user=alice has spent \$1.00 of \$1.00 \(per user, day\); resets"
        ) as e:
            guard.reserve(call())
    refusal = e.value
    assert (refusal.standing.limit, refusal.standing.spent, refusal.standing.remaining) == (1, 1, 0)
    assert refusal.standing.payer == "user=alice"
    midnight = (datetime.now(UTC) + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    assert refusal.standing.resets_at == midnight
    assert 0 < refusal.retry_after <= 86_400
    assert not refusal.busy
    with tagged(user="bob"):
        pay(guard)


def test_a_call_without_a_user_counts_for_the_payer_unattributed(guard: Guard) -> None:
    pay(guard)
    (standing,) = guard.standings()
    assert (standing.payer, standing.spent) == ("user=unattributed", Decimal("0.1"))


def test_all_budgets_of_a_call_are_held_or_none() -> None:
    with Guard("memory://", budgets=["$1/day per user", "$0.15/month"], wait=0) as guard, tagged(user="alice"):
        pay(guard)
        with pytest.raises(BudgetExceeded, match="everyone"):
            guard.reserve(call())
        assert [(s.payer, s.held) for s in guard.standings(user="alice")] == [("user=alice", 0), ("everyone", 0)]


def test_held_money_makes_a_call_wait_and_not_fail() -> None:
    with Guard("memory://", budgets=["$0.15/day"], wait=30) as guard:
        first = call()
        guard.reserve(first)
        admitted = threading.Event()

        def second() -> None:
            guard.reserve(call(max_output_tokens=8_000))
            admitted.set()

        thread = threading.Thread(target=second)
        thread.start()
        guard.settle(first, Outcome("ok", Usage(output_tokens=1_000)))
        thread.join(30)
        assert admitted.is_set()


def test_a_call_that_waited_long_enough_is_told_to_come_back_soon() -> None:
    with Guard("memory://", budgets=["$0.15/day"], wait=0) as guard:
        guard.reserve(call())
        with pytest.raises(BudgetExceeded, match="is held by running calls") as error:
            guard.reserve(call())
        assert error.value.busy
        assert error.value.retry_after <= 5


async def test_waiting_does_not_block_the_event_loop() -> None:
    with Guard("memory://", budgets=["$0.15/day"], wait=30) as guard:
        first = call()
        await guard.reserve_async(first)
        waiting = asyncio.create_task(guard.reserve_async(call(max_output_tokens=8_000)))
        await asyncio.sleep(0)
        assert not waiting.done()
        guard.settle(first, Outcome("ok", Usage(output_tokens=1_000)))
        await asyncio.wait_for(waiting, 30)


def test_the_first_call_of_an_expensive_model_is_not_refused_while_money_is_left() -> None:
    # Without max_tokens the most it could cost is far above the budget; what it does cost is a cent.
    with Guard("memory://", budgets=["$1/day"], wait=30) as guard:
        made = [Call("openai", "o1-pro", input_tokens=50) for _ in range(10)]

        def run(one: Call) -> None:
            guard.reserve(one)
            guard.settle(one, Outcome("ok", Usage(input_tokens=40, output_tokens=10)))

        threads = [threading.Thread(target=run, args=(one,)) for one in made]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(guard.entries()) == 10


def test_a_ceiling_that_costs_more_than_is_left_is_refused_with_the_way_out(guard: Guard) -> None:
    with pytest.raises(BudgetExceeded, match=r"this call may cost up to \$2.00, a lower max_tokens lowers that"):
        guard.reserve(call(max_output_tokens=200_000))


def test_what_was_learned_survives_a_restart() -> None:
    ledger = MemoryLedger()
    first = Guard(ledger, budgets=["$1/day"])
    pay(first, Usage(output_tokens=100))
    second = Guard(ledger, budgets=["$1/day"])
    made = Call("openai", "gpt-4o", input_tokens=10)
    second.reserve(made)
    assert not made.sizing.cold
    assert made.hold.amount < 10_000_000


def test_an_error_of_the_provider_costs_nothing_and_is_recorded(guard: Guard) -> None:
    made = call()
    guard.reserve(made)
    guard.settle(made, Outcome("error", billable=False))
    (entry,) = guard.entries()
    assert (entry.cost, entry.status, entry.estimated) == (0, "error", False)
    assert guard.standings()[0].held == 0


def test_a_call_that_ended_without_a_usage_is_estimated_and_never_free(guard: Guard) -> None:
    made = call(input_tokens=1_000)
    guard.reserve(made)
    guard.settle(made, Outcome("cancelled"))
    (entry,) = guard.entries()
    assert (entry.status, entry.estimated) == ("cancelled", True)
    assert entry.cost == Decimal("0.1025")
    assert entry.receipt is not None
    assert entry.receipt.cost == entry.cost


def test_settling_a_call_twice_changes_nothing(guard: Guard) -> None:
    made = pay(guard)
    guard.settle(made, Outcome("ok", TEN_CENTS))
    assert guard.spent() == Decimal("0.1") == guard.standings()[0].spent


def test_tokens_of_a_second_model_are_priced_at_that_model(guard: Guard) -> None:
    made = call()
    guard.reserve(made)
    beside = (("gpt-4o-mini", Usage(input_tokens=1_000)),)
    guard.settle(made, Outcome("ok", TEN_CENTS, extra=beside))
    assert {entry.model: entry.cost for entry in guard.entries()} == {
        "gpt-4o": Decimal("0.1"), "gpt-4o-mini": Decimal("0.00015"),
    }  # fmt: skip
    assert guard.standings()[0].spent == guard.spent() == Decimal("0.10015")


def test_a_background_response_counts_once_however_often_it_is_read(guard: Guard) -> None:
    asked = call()
    guard.reserve(asked)
    guard.settle(asked, Outcome("pending", response_id="resp_1", by_response=True))
    assert [entry.status for entry in guard.entries()] == ["pending"]
    assert guard.standings()[0].spent == guard.spent() > 0
    for _ in range(3):
        read = Call("openai", "gpt-4o", "responses", produces_output=False)
        guard.reserve(read)
        guard.settle(read, Outcome("ok", Usage(output_tokens=500), response_id="resp_1", by_response=True))
    (entry,) = guard.entries()
    assert (entry.status, entry.cost) == ("ok", Decimal("0.005"))
    (standing,) = guard.standings()
    assert (standing.spent, standing.held) == (entry.cost, 0)


def test_the_model_that_answered_is_the_one_that_is_priced(guard: Guard) -> None:
    made = call()
    guard.reserve(made)
    guard.settle(made, Outcome("ok", Usage(input_tokens=1_000_000), model="gpt-4o-mini-2024-07-18"))
    (entry,) = guard.entries()
    assert (entry.model, entry.cost) == ("gpt-4o-mini-2024-07-18", Decimal("0.15"))


@pytest.mark.parametrize(
    ("asked", "answered", "cost"),
    [
        ("global.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5-20250929", "3"),
        ("global.anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic.claude-sonnet-4-5-20250929-v1:0", "3"),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/global.anthropic.claude-opus-4-6-v1", "claude-opus-4-6", "5"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5-20250929", "3.3"),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5-20250929", "3.3"),
        ("global.anthropic.claude-haiku-4-5-20251001-v1:0", "claude-sonnet-4-5-20250929", "3.3"),
    ],
)
def test_an_inference_profile_of_bedrock_costs_what_is_asked_for(
    guard: Guard, asked: str, answered: str, cost: str
) -> None:
    made = Call("bedrock", asked)
    guard.reserve(made)
    guard.settle(made, Outcome("ok", Usage(input_tokens=1_000_000), model=answered))
    (entry,) = guard.entries()
    assert entry.cost == Decimal(cost)
    assert guard.reprice(dry_run=True).unchanged == 1


def test_a_model_without_a_price_is_recorded_and_never_free(guard: Guard) -> None:
    made = Call("openai", "my-own-model")
    guard.reserve(made)
    guard.settle(made, Outcome("ok", TEN_CENTS))
    (entry,) = guard.entries()
    assert entry.cost is None
    assert entry.reason == "no price is known for openai model 'my-own-model'"
    assert guard.spent() == 0
    assert guard.standings()[0].held == 0


@pytest.mark.parametrize("settings", [{"on_unpriced": "refuse"}, {"holds": "strict"}])
def test_a_model_without_a_price_is_refused_where_the_policy_or_a_strict_budget_says_so(settings: Any) -> None:
    says = r"'gpt-4oo'.*prices=\{\"openai/gpt-4oo\".*near names: .*gpt-4o"
    with Guard("memory://", budgets=["$1/day"], **settings) as guard, pytest.raises(UnpricedModel, match=says):
        guard.reserve(Call("openai", "gpt-4oo"))


def test_a_model_without_a_price_can_be_taken_for_the_dearest_of_its_provider() -> None:
    with Guard("memory://", budgets=["$1000/day"], on_unpriced="assume") as guard:
        made = Call("openai", "my-own-model", max_output_tokens=10)
        guard.reserve(made)
        guard.settle(made, Outcome("ok", TEN_CENTS))
        (entry,) = guard.entries()
        assert entry.cost is not None
        assert entry.cost >= Decimal("0.1")


def test_a_price_of_ones_own_is_used(guard: Guard) -> None:
    with Guard("memory://", prices={"openai/my-own-model": {"input": "1", "output": "2"}}) as guard:
        made = Call("openai", "my-own-model")
        guard.reserve(made)
        guard.settle(made, Outcome("ok", Usage(input_tokens=1_000, output_tokens=1_000)))
        assert guard.spent() == Decimal("0.003")


def test_a_store_that_is_cut_off_lets_calls_through_and_counts_them_later() -> None:
    ledger = Switch()
    guard = Guard(ledger, budgets=["$1/day"])
    ledger.down = True
    for _ in range(3):
        pay(guard)
    with pytest.raises(StoreUnavailable, match="3 entries are not in the ledger"):
        guard.flush()
    assert guard.spent() == 0
    ledger.down = False
    guard.flush()
    assert guard.spent() == guard.standings()[0].spent == Decimal("0.3")


def test_a_store_that_is_cut_off_refuses_calls_where_the_policy_says_so() -> None:
    ledger = Switch()
    guard = Guard(ledger, budgets=["$1/day"], on_store_failure="refuse")
    ledger.down = True
    with pytest.raises(StoreUnavailable, match="cut off"):
        guard.reserve(call())
    with pytest.raises(StoreUnavailable, match="cut off"):
        guard.check()


def test_a_hook_hears_what_was_settled_and_refused_and_cannot_hurt_a_call(guard: Guard) -> None:
    heard: list[Any] = []
    guard.add_hook(lambda event: 1 / 0)
    guard.add_hook(heard.append)
    with pytest.raises(BudgetExceeded):
        guard.reserve(call(max_output_tokens=10**6))
    pay(guard)
    refused, settled = heard
    assert isinstance(settled, Settled)
    assert settled.entry.cost == Decimal("0.1")
    assert isinstance(refused, Refused)
    assert refused.needed == 10
    assert not refused.busy


def test_the_request_frame_adds_up_what_its_calls_cost(guard: Guard) -> None:
    from costguard.tags import current_frame

    with tagged(user="alice"):
        outer = current_frame()
        pay(guard)
        with tagged(feature="chat"):
            pay(guard)
    assert outer is not None
    assert (outer.cost, outer.calls) == (200_000_000, 2)


def test_the_price_of_a_usage_can_be_asked_without_a_call(guard: Guard) -> None:
    receipt = guard.price("openai", "gpt-4o", {"input": 1_000, "cache_read": 500, "output": 10})
    assert receipt.cost == Decimal("0.003225")
    totals = {"input_tokens": 1_500, "cache_read_tokens": 500, "output_tokens": 10}
    assert guard.price("openai", "gpt-4o", totals) == guard.price("openai", "gpt-4o", Usage(**totals)) == receipt
    assert guard.price("openai", "no-such-model", TEN_CENTS).cost is None
    with pytest.raises(ConfigError, match="'tokens' is not known"):
        guard.price("openai", "gpt-4o", {"tokens": 5})
    assert guard.entries() == []


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"holds": "loose"}, "holds is 'loose'; use one of 'learned', 'strict'"),
        ({"on_store_failure": "ignore"}, "on_store_failure is 'ignore'"),
        ({"on_unpriced": "free"}, "on_unpriced is 'free'"),
        ({"wait": -1}, "wait is -1"),
        ({"budgets": "$5/day"}, "budgets must be a list"),
        ({"budgets": ["$5/days"]}, "window 'days'"),
        ({"alerts": ["https://hooks.example.com"]}, "cannot be called; use slack"),
        ({"alerts": print}, "alerts must be a list"),
        ({"prices": {"openai/x": {"input": 0.5}}}, "0.5"),
        ({"store": "mysql://localhost/costs"}, "mysql"),
        ({"store": None}, "None"),
    ],
)
def test_a_wrong_setting_is_named_with_the_way_out(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Guard(**{"store": "memory://", **settings})


def test_a_route_budget_is_a_budget_like_any_other() -> None:
    with Guard("memory://", wait=0) as guard:

        @guard.budget("$0.20/day", per="user")
        def summarize(text: str) -> str:
            pay(guard)
            return text.upper()

        with tagged(user="alice", route="/summarize/{id}"):
            assert [summarize("a"), summarize("b")] == ["A", "B"]
            with pytest.raises(BudgetExceeded, match=r"user=alice has spent \$0.20 of \$0.20"):
                summarize("c")
        with tagged(user="bob", route="/summarize/{id}"):
            summarize("d")
        assert [str(budget) for budget in guard.budgets] == ["$0.20/day per user where route=/summarize/{id}"]


async def test_a_route_budget_works_on_async_views_and_outside_of_requests() -> None:
    with Guard("memory://", wait=0) as guard:

        @guard.budget("$0.10/day")
        @guard.feature("digest")
        async def nightly() -> str:
            pay(guard)
            return current_tags().feature

        assert await nightly() == "digest"
        with pytest.raises(BudgetExceeded):
            await nightly()
        (budget,) = guard.budgets
        assert dict(budget.where)["route"].endswith("nightly")


def test_a_decorator_put_on_something_else_is_explained() -> None:
    with Guard("memory://") as guard, pytest.raises(ConfigError, match="is not a view"):
        guard.budget("$1/day")("not a function")  # type: ignore[type-var]


def test_a_budget_value_carries_its_own_holds_and_alerts() -> None:
    with Guard("memory://", budgets=[Budget(limit=Decimal(1), window="day", holds="strict", alerts=())]) as guard:
        made = call()
        guard.reserve(made)
        assert made.hold.amount == 100_000_000


def test_a_small_sample_does_not_refuse_payers_who_have_spent_nothing() -> None:
    # One call of ten cents was seen; twice that is more than anybody's limit.
    with Guard("memory://", budgets=["$0.15/day per user"], wait=0) as guard:
        for user in ("alice", "bob", "carol"):
            with tagged(user=user, feature="chat"):
                made = Call("openai", "gpt-4o")
                guard.reserve(made)
                guard.settle(made, Outcome("ok", TEN_CENTS))
        assert [standing.spent for standing in guard.standings(user="carol")] == [Decimal("0.1")]


def test_money_that_is_only_held_is_not_called_spent() -> None:
    with Guard("memory://", budgets=["$0.25/day"], wait=0) as guard:
        pay(guard)
        running = call(max_output_tokens=None)
        guard.reserve(running)
        with pytest.raises(BudgetExceeded) as error:
            guard.reserve(call(max_output_tokens=None))
        assert error.value.busy
