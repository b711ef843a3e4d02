"""LiteLLM and its Router through costguard. Run in its own environment by test_frameworks.py."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks the network at import

import litellm
import pytest
from litellm import acompletion as acompletion_imported_before
from litellm import completion as imported_before

from costguard import BudgetExceeded, Guard, carry, instrument, tagged
from costguard.providers.instrument import patched, uninstrument_client
from tests.interop.conftest import CHAT_MODEL, CLAUDE_MODEL, COSTS, EMBEDDING_MODEL, Books
from tests.interop.server import GEMINI_MODEL, INPUT, OUTPUT, WORDS, Server

TEXT = "".join(WORDS)
ASK: list[Any] = [{"role": "user", "content": "How many live in Paris?"}]
Call = Callable[[Server], Any]


@pytest.fixture(autouse=True)
def usage_asked_for(books: Books, server: Server) -> None:
    """As at api.openai.com, where streams are asked for their usage."""
    books.guard.instrument(usage_hosts=[f"127.0.0.1:{server.port}"])


def gpt(server: Server) -> dict[str, Any]:
    return {"model": f"openai/{CHAT_MODEL}", "api_base": f"{server.url}/v1", "api_key": "local"}


def claude(server: Server) -> dict[str, Any]:
    return {"model": f"anthropic/{CLAUDE_MODEL}", "api_base": server.url, "api_key": "local"}


def gemini(server: Server) -> dict[str, Any]:
    return {"model": f"gemini/{GEMINI_MODEL}", "api_base": f"{server.url}/v1beta", "api_key": "local"}


def embedder(server: Server) -> dict[str, Any]:
    return {**gpt(server), "model": f"openai/{EMBEDDING_MODEL}"}


def router(server: Server, **options: Any) -> Any:
    groups = {"gpt": gpt(server), "claude": claude(server), "embedder": embedder(server)}
    models = [{"model_name": name, "litellm_params": given} for name, given in groups.items()]
    return litellm.Router(model_list=models, retry_after=0, **options)


def chunks(stream: Any) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


async def chunks_async(stream: Any) -> str:
    return chunks([chunk async for chunk in stream])


def run(make: Callable[[Server], Any]) -> Call:
    """An async way as a plain one."""

    def call(server: Server) -> Any:
        async def awaited() -> Any:
            made = await make(server)
            return await chunks_async(made) if hasattr(made, "__aiter__") else made

        return asyncio.run(awaited())

    return call


WAYS: dict[str, Call] = {
    "completion": lambda server: litellm.completion(messages=ASK, **gpt(server)),
    "completion, positional": lambda server: litellm.completion(gpt(server).pop("model"), ASK, api_key="x",
                                                                api_base=f"{server.url}/v1"),
    "completion anthropic": lambda server: litellm.completion(messages=ASK, **claude(server)),
    "stream": lambda server: chunks(litellm.completion(messages=ASK, stream=True, **gpt(server))),
    "stream anthropic": lambda server: chunks(litellm.completion(messages=ASK, stream=True, **claude(server))),
    "embedding": lambda server: litellm.embedding(input=["Paris"], **embedder(server)),
    "responses": lambda server: litellm.responses(input="Paris?", **gpt(server)),
    "responses stream": lambda server: list(litellm.responses(input="Paris?", stream=True, **gpt(server))),
    "acompletion": run(lambda server: litellm.acompletion(messages=ASK, **gpt(server))),
    "acompletion anthropic": run(lambda server: litellm.acompletion(messages=ASK, **claude(server))),
    "astream": run(lambda server: litellm.acompletion(messages=ASK, stream=True, **gpt(server))),
    "astream anthropic": run(lambda server: litellm.acompletion(messages=ASK, stream=True, **claude(server))),
    "aembedding": run(lambda server: litellm.aembedding(input=["Paris"], **embedder(server))),
    "aresponses": run(lambda server: litellm.aresponses(input="Paris?", **gpt(server))),
    "gemini": lambda server: litellm.completion(messages=ASK, **gemini(server)),
    "gemini async": run(lambda server: litellm.acompletion(messages=ASK, **gemini(server))),
    # These make their request when the first chunk is read.
    "gemini stream": lambda server: chunks(litellm.completion(messages=ASK, stream=True, **gemini(server))),
    "gemini astream": run(lambda server: litellm.acompletion(messages=ASK, stream=True, **gemini(server))),
    "Router": lambda server: router(server).completion("gpt", ASK),
    "Router anthropic": lambda server: router(server).completion("claude", ASK),
    "Router stream": lambda server: chunks(router(server).completion("gpt", ASK, stream=True)),
    "Router async": run(lambda server: router(server).acompletion("claude", ASK)),
    "Router astream": run(lambda server: router(server).acompletion("claude", ASK, stream=True)),
    "Router aembedding": run(lambda server: router(server).aembedding("embedder", input=["Paris"])),
    "Router aresponses": run(lambda server: router(server).aresponses(model="gpt", input="Paris?")),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_call_is_one_entry(way: str, server: Server, books: Books) -> None:
    answer = WAYS[way](server)
    if isinstance(answer, str):
        assert answer == TEXT
    books.assert_one_entry_per_request()
    (entry,) = books.entries()
    assert entry.provider == {CLAUDE_MODEL: "anthropic", GEMINI_MODEL: "google"}.get(entry.model, "openai")


@pytest.mark.parametrize("way", WAYS)
def test_a_refusal_comes_through_and_is_not_asked_again(way: str, server: Server, books: Books) -> None:
    books.refuse()
    with pytest.raises(BudgetExceeded):
        WAYS[way](server)
    books.assert_refused_once()


@pytest.mark.parametrize("retries", [0, 2])
def test_a_router_made_before_the_guard_is_seen(retries: int, server: Server, books: Books) -> None:
    books.guard.uninstrument()
    made = router(server, num_retries=retries)
    books.guard.instrument()
    made.completion("gpt", ASK)
    asyncio.run(made.aresponses(model="gpt", input="Paris?"))
    books.assert_one_entry_per_request(2)
    books.refuse()
    with pytest.raises(BudgetExceeded):
        asyncio.run(made.aresponses(model="gpt", input="Paris?"))
    assert len(books.refusals) == 1


def test_what_the_caller_gets_is_litellms(server: Server, books: Books) -> None:
    whole = litellm.completion(messages=ASK, **gpt(server))
    assert type(whole) is litellm.ModelResponse
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (INPUT, OUTPUT)
    stream = litellm.completion(messages=ASK, stream=True, **gpt(server))
    assert type(stream).__name__ == "CustomStreamWrapper"
    assert all(chunk.choices for chunk in stream), "an event that was not asked for"


def test_retries_of_the_router_are_attempts_of_one_call(server: Server, books: Books) -> None:
    server.fails = 2
    router(server, num_retries=3).completion("claude", ASK)
    (entry,) = books.entries()
    assert (entry.status, entry.attempts, entry.cost) == ("ok", 3, COSTS[CLAUDE_MODEL])


async def test_a_fallback_is_an_attempt_and_its_model_is_the_one_that_is_paid(server: Server, books: Books) -> None:
    server.fails = 1
    routes = router(server, num_retries=0, fallbacks=[{"gpt": ["claude"]}])
    await routes.acompletion("gpt", ASK)
    (entry,) = books.entries()
    assert (entry.provider, entry.model, entry.cost) == ("anthropic", CLAUDE_MODEL, COSTS[CLAUDE_MODEL])
    assert entry.attempts == 2
    assert books.guard.standings(user="alice")[0].held == 0


def test_an_attempt_that_got_no_answer_is_told_of(server: Server, books: Books) -> None:
    deaf = {**gpt(server), "api_base": f"{server.url}/deaf"}
    models = [
        {"model_name": "deaf", "litellm_params": deaf},
        {"model_name": "claude", "litellm_params": claude(server)},
    ]
    litellm.Router(model_list=models, num_retries=0, fallbacks=[{"deaf": ["claude"]}]).completion("deaf", ASK)
    (entry,) = books.entries()
    assert (entry.model, entry.attempts, entry.cost) == (CLAUDE_MODEL, 2, COSTS[CLAUDE_MODEL])
    assert entry.reason == "1 of its attempts got no answer and may be billed too"


def test_a_call_that_fails_for_good_costs_nothing(server: Server, books: Books) -> None:
    server.fails = 99
    with pytest.raises(litellm.InternalServerError):
        litellm.completion(messages=ASK, **claude(server))
    (entry,) = books.entries()
    assert (entry.status, entry.cost) == ("error", 0)


def collected(books: Books) -> list[Any]:
    """The entries once LiteLLM's logging threads have let go of what the test dropped."""
    deadline = time.monotonic() + 20
    while not books.entries() and time.monotonic() < deadline:
        gc.collect()
        books.guard.flush()
    return books.entries()


@pytest.mark.parametrize("model", [gpt, claude])
def test_a_stream_left_early_is_never_free(model: Any, server: Server, books: Books) -> None:
    server.gate.clear()
    stream = litellm.completion(messages=ASK, stream=True, **model(server))
    next(stream)
    del stream
    (entry,) = collected(books)
    server.gate.set()
    assert (entry.status, entry.estimated) == ("closed", True)
    assert entry.cost
    assert books.guard.standings(user="alice")[0].held == 0


async def test_a_cancelled_call_is_never_free(server: Server, books: Books) -> None:
    server.gate.clear()
    stream = await litellm.acompletion(messages=ASK, stream=True, **gpt(server))

    async def read() -> None:
        async for _ in stream:
            reading.set()

    reading = asyncio.Event()
    task = asyncio.create_task(read())
    await reading.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await stream.aclose()
    server.gate.set()
    (entry,) = books.entries()
    assert entry.estimated
    assert entry.cost
    assert books.guard.standings(user="alice")[0].held == 0


def test_what_litellm_answers_by_itself_is_free(server: Server, books: Books) -> None:
    litellm.completion(messages=ASK, mock_response="Two million.", **gpt(server))
    chunks(litellm.completion(messages=ASK, mock_response="Two million.", stream=True, **gpt(server)))
    assert [entry.cost for entry in books.entries()] == [0, 0]
    assert server.asked == []


class Paris(litellm.CustomLLM):
    """A provider that no seam sees."""

    def completion(self, *args: Any, **kwargs: Any) -> Any:
        return litellm.completion(model="openai/any", messages=ASK, mock_response=TEXT)

    def streaming(self, *args: Any, **kwargs: Any) -> Any:
        for index, word in enumerate(WORDS):
            last = index == len(WORDS) - 1
            yield {"text": word, "is_finished": last, "finish_reason": "stop" if last else "", "index": 0,
                   "tool_use": None, "usage": None}  # fmt: skip


@pytest.fixture
def custom() -> Iterator[None]:
    litellm.custom_provider_map = [{"provider": "paris", "custom_handler": Paris()}]
    litellm.utils.custom_llm_setup()
    yield
    litellm.custom_provider_map = []


@pytest.mark.parametrize("name", ["deepseek/deepseek-chat", "xai/grok-4"])
def test_the_provider_is_the_one_litellm_names_where_the_host_may_be_anyones(
    name: str, server: Server, books: Books
) -> None:
    given = {**gpt(server), "model": name}
    litellm.completion(messages=ASK, **given)
    chunks(litellm.completion(messages=ASK, stream=True, **given))
    for entry in books.entries():
        assert (f"{entry.provider}/{entry.model}", entry.estimated) == (name, False)
        assert entry.cost


def test_one_router_alone_can_be_instrumented(server: Server, books: Books) -> None:
    books.guard.uninstrument()
    watched, other = router(server), router(server)
    with Guard("memory://") as guard, tagged(user="alice"):
        instrument(watched, guard)
        for group in ("gpt", "claude"):
            watched.completion(group, ASK)
            other.completion(group, ASK)
        assert sorted(entry.cost or 0 for entry in guard.entries()) == [COSTS[CLAUDE_MODEL], COSTS[CHAT_MODEL]]
        uninstrument_client(watched)
        watched.completion("gpt", ASK)
        assert len(guard.entries()) == 2
    assert litellm.completion is imported_before


def test_a_stream_that_is_never_read_asks_nothing_and_is_free(server: Server, books: Books) -> None:
    stream = litellm.completion(messages=ASK, stream=True, **gemini(server))
    del stream
    (entry,) = collected(books)
    assert (entry.cost, server.asked) == (0, [])
    assert books.guard.standings(user="alice")[0].held == 0


def test_a_stream_that_no_seam_sees_is_read_by_its_chunks(custom: None, server: Server, books: Books) -> None:
    assert chunks(litellm.completion(model="paris/one", messages=ASK, stream=True)) == TEXT
    (entry,) = books.entries()
    assert (entry.provider, entry.model, entry.status, entry.estimated) == ("paris", "one", "ok", True)
    assert 3 <= entry.usage.output_tokens <= 12


def test_a_stream_that_no_seam_sees_may_be_dropped(custom: None, server: Server, books: Books) -> None:
    stream = litellm.completion(model="paris/one", messages=ASK, stream=True)
    next(stream)
    del stream
    (entry,) = collected(books)
    assert (entry.status, entry.estimated) == ("closed", True)


def test_the_tags_arrive_from_threads_that_carry_them(server: Server, books: Books) -> None:
    thread = Thread(target=carry(lambda: litellm.completion(messages=ASK, **gpt(server))))
    thread.start()
    thread.join()
    asyncio.run(asyncio.to_thread(litellm.completion, messages=ASK, **gpt(server)))
    books.assert_one_entry_per_request(2)


async def test_calls_at_the_same_time_are_their_own(server: Server, books: Books) -> None:
    routes = router(server)
    await asyncio.gather(*(routes.acompletion(("gpt", "claude")[n % 2], ASK) for n in range(8)))
    assert len(books.entries()) == len(server.asked) == 8
    assert sum(entry.cost or 0 for entry in books.entries()) == 4 * (COSTS[CHAT_MODEL] + COSTS[CLAUDE_MODEL])


async def test_the_plain_router_inside_of_an_event_loop_is_one_entry(server: Server, books: Books) -> None:
    """It runs in a thread whose context is not the caller's."""
    router(server).completion("claude", ASK)
    books.assert_one_entry_per_request()


def test_a_function_imported_before_the_guard_is_still_counted(server: Server, books: Books) -> None:
    imported_before(messages=ASK, **gpt(server))
    chunks(imported_before(messages=ASK, stream=True, **claude(server)))
    asyncio.run(acompletion_imported_before(messages=ASK, **claude(server)))
    books.assert_one_entry_per_request(3)


def causes(error: BaseException | None) -> list[BaseException]:
    found = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


@pytest.mark.parametrize("model", [gpt, claude])
def test_a_refusal_of_a_function_imported_before_is_the_cause(model: Any, server: Server, books: Books) -> None:
    books.refuse()
    with pytest.raises((litellm.APIConnectionError, litellm.InternalServerError)) as caught:
        imported_before(messages=ASK, **model(server))
    assert any(isinstance(error, BudgetExceeded) for error in causes(caught.value))
    books.assert_refused_once()


def test_a_shorter_answer_and_another_model_can_be_asked_for(server: Server) -> None:
    budget = "$0.20/day per user then downgrade:gpt-4o-mini at 50%, fit at 90%"
    with Guard("memory://", budgets=[budget], holds="strict") as guard, tagged(user="bob"):
        guard.instrument()
        for _ in range(2):
            litellm.completion(messages=ASK, max_tokens=15_000, **gpt(server))
        assert [body["model"] for _, body in server.asked] == ["gpt-4o-mini", "gpt-4o-mini"]
    with Guard("memory://", budgets=["$0.02/day per user"], holds="strict", fit=True) as guard, tagged(user="bob"):
        guard.instrument()
        litellm.completion(messages=ASK, **gpt(server))
        assert 256 <= server.asked[-1][1]["max_tokens"] < 2_000


def test_uninstrument_gives_litellm_its_own_functions_back(books: Books) -> None:
    assert "litellm" in patched()
    ours = litellm.completion, litellm.acompletion, litellm.Router.function_with_fallbacks
    assert ours[0] is not imported_before
    books.guard.uninstrument()
    assert litellm.completion is imported_before
    assert litellm.acompletion is acompletion_imported_before
    assert litellm.Router.function_with_fallbacks is not ours[2]
