"""What budgets do besides refusing: ask another model, ask for less, only watch; and what they count besides USD a day.

Each through the real SDKs, against a provider on loopback.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
import pytest

from costguard import Budget, BudgetExceeded, ConfigError, Guard, Refused, Usage, tagged
from costguard.call import Call
from costguard.events import Downgraded, Outcome
from costguard.ledger.memory import MemoryLedger
from costguard.tags import Frame, close_frame, open_frame
from tests.enforcement.provider import Provider
from tests.enforcement.speaking import APIS, CEILINGS, CHEAPER, Heard, Voice
from tests.ledger.stores import new_url


@pytest.fixture
def heard() -> Iterator[Heard]:
    with Heard() as heard:
        yield heard


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else new_url(request.param, tmp_path)


def guarded(*budgets: Any, store: str = "memory://", **settings: Any) -> Guard:
    guard = Guard(store, budgets=list(budgets), **{"wait": 0, **settings})
    guard.instrument()
    return guard


def pay(guard: Guard, dollars: str) -> None:
    """Spend so much of every budget, by a call of gpt-4o ($10 for a million tokens)."""
    made = Call("openai", "gpt-4o", max_output_tokens=int(Decimal(dollars) * 100_000))
    guard.reserve(made)
    guard.settle(made, Outcome("ok", Usage(output_tokens=int(Decimal(dollars) * 100_000))))


# --- downgrade ---


@pytest.mark.parametrize("api", APIS)
def test_past_its_fraction_a_budget_has_a_cheaper_model_asked(heard: Heard, api: str) -> None:
    rule = f"$1/day then downgrade:{CHEAPER[api]} at 80%"
    events: list[Any] = []
    with guarded(rule, hooks=[events.append], holds="strict") as guard:
        voice = Voice(heard, api)
        voice.ask(100)
        assert heard.last["model"] == voice.model
        pay(guard, "0.80")
        voice.ask(100)
        assert heard.last["model"] == CHEAPER[api]
        entry = guard.entries(limit=1)[0]
        assert entry.model.startswith(CHEAPER[api])
        assert entry.reason is not None
        assert f"downgraded from {voice.model} by $1.00/day" in entry.reason
        (told,) = [event for event in events if isinstance(event, Downgraded)]
        assert (told.asked, told.model, told.standing.limit) == (voice.model, CHEAPER[api], 1)


def test_a_downgrade_leaves_the_dicts_of_the_caller_alone(heard: Heard) -> None:
    with guarded("$1/day then downgrade:gpt-4o-mini at 10%", holds="strict") as guard:
        pay(guard, "0.5")
        extra = {"model": "gpt-4o", "max_completion_tokens": 50}
        Voice(heard, "chat").ask(extra_body=extra)
        assert extra == {"model": "gpt-4o", "max_completion_tokens": 50}
        assert heard.last["model"] == "gpt-4o-mini"


def test_nothing_is_downgraded_to_a_dearer_model_or_to_one_without_a_price(heard: Heard) -> None:
    with guarded("$1/day then downgrade:gpt-4o at 10%", "$2/week then downgrade:no-such-model at 10%") as guard:
        pay(guard, "0.5")
        voice = Voice(heard, "chat")
        voice.model = "gpt-4o-mini"
        voice.ask(100)
        assert heard.last["model"] == "gpt-4o-mini"


# --- fit ---


@pytest.mark.parametrize("api", APIS)
def test_a_call_that_does_not_fit_asks_for_less_where_the_guard_fits(heard: Heard, api: str) -> None:
    heard.tokens = 100_000
    with guarded("$0.01/day", fit=True, holds="strict") as guard:
        Voice(heard, api).ask(20_000)
        name = "max_tokens" if api == "chat" else CEILINGS[api]
        fitted = heard.last[name]
        assert 256 <= fitted < 1_000
        (entry,) = guard.entries()
        assert entry.usage.output_tokens == fitted
        assert entry.reason == f"fitted to {fitted} output tokens"
        assert Decimal("0.005") < guard.spent() <= Decimal("0.01")


def test_a_fitted_call_is_never_asked_for_less_than_the_floor(heard: Heard) -> None:
    with guarded("$0.01/day", fit=True, fit_floor=1_200, holds="strict") as guard:
        with pytest.raises(BudgetExceeded, match="a lower max_tokens lowers that"):
            Voice(heard, "chat").ask(5_000)
        assert heard.bodies == []
        assert guard.standings()[0].held == 0


def test_without_fit_the_same_call_is_refused(heard: Heard) -> None:
    with guarded("$0.01/day", holds="strict"), pytest.raises(BudgetExceeded):
        Voice(heard, "chat").ask(50_000)


def test_a_budget_can_ask_to_fit_from_a_fraction_on(heard: Heard) -> None:
    with guarded("$1/day then fit at 90%", holds="strict") as guard:
        voice = Voice(heard, "chat")
        voice.ask(20_000)
        assert heard.last["max_tokens"] == 20_000
        pay(guard, "0.85")
        voice.ask(20_000)
        assert 10_000 < heard.last["max_tokens"] < 15_000


def test_a_call_that_comes_upon_the_fraction_while_it_waits_is_fitted_all_the_same() -> None:
    # None has reached the fraction when it begins, as all begin at once.
    with Heard(tokens=100_000) as heard, guarded("$1/day then fit at 90%", holds="strict", wait=10) as guard:
        voice = Voice(heard, "chat")
        with ThreadPoolExecutor(12) as pool:
            done = [pool.submit(voice.ask, 20_000) for _ in range(12)]
        assert sum(each.exception() is None for each in done) >= 5
        assert Decimal("0.95") < guard.spent() <= 1


def test_a_thinking_budget_is_left_whole(heard: Heard) -> None:
    with guarded("$0.20/day", fit=True, holds="strict"):
        Voice(heard, "messages").ask(60_000, thinking={"type": "enabled", "budget_tokens": 8_000}, timeout=30)
        assert heard.last["max_tokens"] >= 8_000 + 256
        assert heard.last["max_tokens"] < 60_000


def test_every_choice_of_a_fitted_call_has_its_share(heard: Heard) -> None:
    with guarded("$0.10/day", fit=True, holds="strict"):
        Voice(heard, "chat").ask(9_000, n=4)
        assert 2_000 < heard.last["max_tokens"] <= 2_500


@pytest.mark.parametrize("settings", [{"holds": "learned"}, {"holds": "strict", "fit": True}], ids=["learned", "fit"])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_ten_short_prompts_at_once_to_the_dearest_model_are_all_answered_on_one_dollar(
    settings: dict[str, Any], is_async: bool
) -> None:
    # o1-pro: $600 for a million tokens of output, and up to 100,000 of them.
    with Provider(lambda _: (12, 20)) as provider, Guard("memory://", budgets=["$1/day"], **settings) as guard:
        guard.instrument()
        ask: dict[str, Any] = {"model": "o1-pro", "messages": [{"role": "user", "content": "Hello?"}]}
        if is_async:
            far = openai.AsyncOpenAI(base_url=provider.url, api_key="none", max_retries=0)
            await asyncio.gather(*(far.chat.completions.create(**ask) for _ in range(10)))
        else:
            client = openai.OpenAI(base_url=provider.url, api_key="none", max_retries=0)
            with ThreadPoolExecutor(10) as pool:
                list(pool.map(lambda _: client.chat.completions.create(**ask), range(10)))
        assert provider.sold == len(guard.entries()) == 10
        assert guard.spent() <= 1


# --- observe, and budgets that never refuse ---


@pytest.mark.parametrize("rule", ["$0.01/day observe", "$0.01/day"])
def test_what_is_only_observed_is_told_and_recorded_and_not_refused(heard: Heard, rule: str) -> None:
    events: list[Any] = []
    with guarded(rule, observe="observe" not in rule, holds="strict", hooks=[events.append]) as guard:
        Voice(heard, "chat").ask(5_000)
        assert len(heard.bodies) == 1
        (refused,) = [event for event in events if isinstance(event, Refused)]
        assert refused.observed
        assert refused.needed > Decimal("0.05")
        (entry,) = guard.entries()
        assert entry.reason is not None
        assert entry.reason.startswith("observed, not refused: everyone has spent $0.00 of $0.01")
        assert guard.standings()[0].spent == entry.cost
        guard.check()


def test_an_observed_budget_does_not_make_its_calls_wait() -> None:
    with guarded("$0.10/day observe", wait=1e5, holds="strict") as guard:
        running = [Call("openai", "gpt-4o", max_output_tokens=10_000) for _ in range(3)]
        for call in running:
            guard.reserve(call)
        assert guard.standings()[0].held == Decimal("0.3")


def test_other_budgets_refuse_beside_an_observed_one(heard: Heard) -> None:
    with guarded("$0.01/day observe", "$0.02/month", holds="strict") as guard:
        with pytest.raises(BudgetExceeded, match="month"):
            Voice(heard, "chat").ask(5_000)
        assert [standing.held for standing in guard.standings()] == [0, 0]


def test_a_budget_whose_last_word_is_to_tell_never_refuses(heard: Heard, store: str) -> None:
    with guarded("$0.01/day then alert at 100%", store=store, holds="strict") as guard:
        for _ in range(3):
            Voice(heard, "chat").ask(5_000)
        pay(guard, "0.5")
        guard.check()
        (standing,) = guard.standings()
        assert standing.spent > standing.limit
        assert standing.held == 0


def test_a_model_without_a_price_passes_where_its_strict_budget_only_observes() -> None:
    with guarded("$1/day observe", holds="strict") as guard:
        guard.reserve(Call("openai", "my-own-model"))
    with guarded("$1/day", holds="strict", observe=True, on_unpriced="refuse") as guard:
        guard.reserve(Call("openai", "my-own-model"))


# --- one call, one request ---


@pytest.mark.parametrize("api", APIS)
def test_a_ceiling_on_a_call_refuses_one_that_may_cost_more(heard: Heard, api: str) -> None:
    with guarded("$0.02/call", holds="strict") as guard:
        voice = Voice(heard, api)
        for _ in range(3):
            voice.ask(500)
        with pytest.raises(BudgetExceeded, match=r"\$0.02/call: this call may cost up to .* lower max_tokens") as error:
            voice.ask(20_000)
        assert not error.value.busy
        assert len(heard.bodies) == len(guard.entries()) == 3


def test_a_ceiling_on_a_call_goes_by_what_such_calls_cost_where_holds_are_learned(heard: Heard) -> None:
    with guarded("$0.02/call", holds="learned"):
        voice = Voice(heard, "chat")
        for _ in range(5):
            voice.ask()
        heard.tokens = 9_000
        voice.ask()
        with pytest.raises(BudgetExceeded, match="is more than a single call may"):
            voice.ask()


def test_a_ceiling_on_a_call_is_fitted_to(heard: Heard, store: str) -> None:
    with guarded("$0.02/call", store=store, fit=True) as guard:
        Voice(heard, "chat").ask(20_000)
        assert 1_500 < heard.last["max_tokens"] <= 2_000
        Voice(heard, "chat").ask()
        assert len(guard.entries()) == 2


def test_a_call_that_is_interrupted_gives_back_what_it_held_of_its_request() -> None:
    class Interrupting(MemoryLedger):
        def reserve(self, *args: Any, **kwargs: Any) -> Any:
            raise KeyboardInterrupt

    frame = Frame(route=lambda: "/")
    token = open_frame(frame)
    try:
        with Guard(Interrupting(), budgets=["$0.10/request", "$1/day"], holds="strict", wait=0) as guard:
            for _ in range(3):
                with pytest.raises(KeyboardInterrupt):
                    guard.reserve(Call("openai", "gpt-4o", max_output_tokens=10_000))
        assert frame.accounts is not None
        assert list(frame.accounts.values()) == [[0, 0]]
    finally:
        close_frame(token)


class Requests:
    """HTTP requests to a small app whose view makes `calls` calls at once."""

    def __init__(self, guard: Guard) -> None:
        from starlette.applications import Starlette
        from starlette.requests import Request
        from starlette.responses import JSONResponse
        from starlette.routing import Route

        from costguard.web.asgi import CostGuardMiddleware

        async def view(request: Request) -> JSONResponse:
            def call(_: int) -> str:
                made = Call("openai", "gpt-4o", max_output_tokens=10_000, tags=None)
                guard.reserve(made)
                guard.settle(made, Outcome("ok", Usage(output_tokens=10_000)))
                return str(made.id)

            from costguard import carry

            with tagged(feature="inner"), ThreadPoolExecutor(4) as pool:
                return JSONResponse(list(pool.map(carry(call), range(int(request.query_params["calls"])))))

        self.app = CostGuardMiddleware(Starlette(routes=[Route("/", view)]), guard=guard)

    def get(self, calls: int) -> Any:
        from starlette.testclient import TestClient

        return TestClient(self.app).get(f"/?calls={calls}")


def test_all_calls_of_one_request_share_its_limit_and_the_next_request_has_its_own(store: str) -> None:
    with Guard(store, budgets=["$0.35/request"], holds="strict", wait=0.5) as guard:
        requests = Requests(guard)
        assert requests.get(3).status_code == 200
        assert requests.get(3).status_code == 200
        answer = requests.get(4)
        assert answer.status_code == 429
        assert "$0.35 (request)" in answer.json()["detail"]
        assert len(guard.entries()) == 9


def test_outside_of_a_request_its_limit_does_not_apply() -> None:
    with Guard("memory://", budgets=["$0.05/request"], holds="strict", wait=0) as guard, tagged(user="alice"):
        pay(guard, "0.10")
        assert guard.standings(user="alice") == []


# --- tokens and calls ---


@pytest.mark.parametrize("holds", ["learned", "strict"])
def test_a_budget_in_tokens_counts_input_and_output(heard: Heard, holds: Any, store: str) -> None:
    with guarded("1000 tokens/day per user", "$5/day", store=store, holds=holds) as guard, tagged(user="alice"):
        voice = Voice(heard, "chat")
        for _ in range(9):
            voice.ask(100)
        with pytest.raises(BudgetExceeded, match="spent 918 of 1,000 tokens") as error:
            voice.ask(100)
        (standing,) = [each for each in guard.standings(user="alice") if each.unit == "tokens"]
        assert (standing.unit, standing.limit, standing.spent, standing.held) == ("tokens", 1000, 918, 0)
        assert error.value.needed is not None
        assert error.value.needed > 100


def test_a_model_without_a_price_counts_in_tokens_all_the_same() -> None:
    with guarded("1000 tokens/day", "$1/day") as guard:
        for _ in range(9):
            made = Call("openai", "my-own-model", input_tokens=5, max_output_tokens=95)
            guard.reserve(made)
            guard.settle(made, Outcome("ok", Usage(input_tokens=10, output_tokens=100)))
        with pytest.raises(BudgetExceeded, match="tokens"):
            guard.reserve(Call("openai", "my-own-model", max_output_tokens=95))


def test_a_budget_in_calls_counts_calls_and_not_those_that_failed(store: str) -> None:
    with guarded("3 calls/day per user", store=store) as guard, tagged(user="alice"):
        for billable in (False, True, True, True):
            made = Call("openai", "gpt-4o")
            guard.reserve(made)
            guard.settle(made, Outcome("ok" if billable else "error", Usage(output_tokens=5), billable=billable))
        guard.flush(60)
        with pytest.raises(BudgetExceeded, match="user=alice has spent 3 of 3 calls") as error:
            guard.reserve(Call("openai", "gpt-4o"))
        assert not error.value.busy
        with tagged(user="bob"):
            guard.reserve(Call("openai", "gpt-4o"))


def test_running_calls_count_and_are_told_apart_from_ended_ones() -> None:
    with guarded("2 calls/hour") as guard:
        for _ in range(2):
            guard.reserve(Call("openai", "gpt-4o"))
        with pytest.raises(BudgetExceeded) as error:
            guard.reserve(Call("openai", "gpt-4o"))
        assert error.value.busy


def test_many_at_once_keep_to_a_budget_in_tokens(store: str) -> None:
    with Guard(store, budgets=["1000 tokens/day"], holds="strict") as guard:
        gate = threading.Barrier(20)

        def call(_: int) -> bool:
            made = Call("openai", "gpt-4o", input_tokens=10, max_output_tokens=90)
            gate.wait(30)
            try:
                guard.reserve(made)
            except BudgetExceeded:
                return False
            guard.settle(made, Outcome("ok", Usage(input_tokens=10, output_tokens=90)))
            return True

        with ThreadPoolExecutor(20) as pool:
            assert sum(pool.map(call, range(20))) == 10
        assert guard.standings()[0].spent == 1000


# --- rolling ---


def test_a_rolling_window_counts_what_its_earlier_buckets_spent(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    import time

    now = 1_780_000_000 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: now)
    with guarded("$1/90m", store=store, holds="strict") as guard:
        pay(guard, "0.60")
        now += 40 * 60 * 10**9
        pay(guard, "0.30")
        (standing,) = guard.standings()
        assert (standing.spent, standing.limit) == (Decimal("0.9"), 1)
        with pytest.raises(BudgetExceeded, match=r"everyone has spent \$0.90 of \$1.00 \(90m\)"):
            pay(guard, "0.20")
        now += 60 * 60 * 10**9
        pay(guard, "0.20")
        assert guard.standings()[0].spent == Decimal("0.5")


def test_the_door_knows_what_the_earlier_buckets_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    now = 1_780_000_000 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: now)
    with guarded("$1/90m", holds="strict") as guard:
        pay(guard, "1")
        now += 40 * 60 * 10**9
        with pytest.raises(BudgetExceeded):
            guard.check()


# --- settings, and the figure that is told ---


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"fit": "yes"}, "fit is 'yes'; give True or False"),
        ({"fit_floor": 1}, "fit_floor is 1; give tokens, an integer of at least 16"),
        ({"observe": 1}, "observe is 1"),
        ({"stop_at_limit": None}, "stop_at_limit is None"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Guard("memory://", **settings)


def test_spending_past_a_limit_is_at_most_the_overshoot_that_is_told() -> None:
    # Learned from calls of a cent; then ten at once cost forty cents each.
    with guarded("$1/day", wait=0) as guard:
        for _ in range(20):
            made = Call("openai", "gpt-4o")
            guard.reserve(made)
            guard.settle(made, Outcome("ok", Usage(output_tokens=1_000)))
        assert guard.overshoot == 0
        running = [Call("openai", "gpt-4o") for _ in range(10)]
        for made in running:
            guard.reserve(made)
        for made in running:
            guard.settle(made, Outcome("ok", Usage(output_tokens=40_000)))
        (standing,) = guard.standings()
        assert 0 < standing.spent - standing.limit <= guard.overshoot
        assert guard.overshoots == {"$1.00/day": guard.overshoot}


def test_strict_holds_overshoot_nothing() -> None:
    with guarded(Budget(limit=Decimal(1), holds="strict")) as guard:
        for _ in range(10):
            pay(guard, "0.10")
        assert guard.overshoot == 0
        assert guard.overshoots == {}
