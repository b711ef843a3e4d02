"""Batches are paid for once, at their own price, by whoever ordered them, however often they are read."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from decimal import Decimal
from itertools import count
from typing import Any

import anthropic
import openai
import pytest

from costguard import Guard, Usage, tagged
from tests.providers.scripted import answering

_numbers = count()

OPENAI_USAGE = {
    "input_tokens": 2_000_000, "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 100_000, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 2_100_000,
}  # fmt: skip


@pytest.fixture
def guard() -> Iterator[Guard]:
    with Guard("memory://") as guard:
        guard.instrument()
        yield guard
        guard.uninstrument()


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def got(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def each(value: Any) -> list[Any]:
    return [item async for item in value] if hasattr(value, "__aiter__") else list(value)


def batch(number: int, status: str, **more: Any) -> dict[str, Any]:
    return {
        "id": f"batch_{number}", "object": "batch", "endpoint": "/v1/responses", "completion_window": "24h",
        "created_at": 1, "input_file_id": "file-1", "status": status, "model": "gpt-4o-2024-08-06", **more,
    }  # fmt: skip


def output(number: int, model: str = "gpt-4o-2024-08-06") -> bytes:
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 50_000, "total_tokens": 1_050_000}
    body = {"id": "chatcmpl-1", "object": "chat.completion", "model": model, "usage": usage, "choices": []}
    line = {"id": f"batch_req_{number}", "custom_id": "0", "response": {"status_code": 200, "body": body}}
    return b"\n".join([json.dumps(line).encode()] * 2)


async def test_openai_tells_the_usage_of_a_batch_with_every_look_at_it(guard: Guard, kind: str) -> None:
    number = next(_numbers)
    ended = {"output_file_id": f"file-out-{number}", "usage": OPENAI_USAGE}
    answers = {
        "/v1/batches": batch(number, "validating", usage={**OPENAI_USAGE, "input_tokens": 0, "output_tokens": 0}),
        f"/batches/batch_{number}": batch(number, "in_progress", usage=OPENAI_USAGE),
        f"/files/file-out-{number}/content": ("application/octet-stream", output(number)),
    }
    with answering(answers) as server:
        client: Any = (openai.AsyncOpenAI if kind == "async" else openai.OpenAI)(
            base_url=f"{server.url}/v1", api_key="x"
        )
        with tagged(user="alice"):
            made = await got(
                client.batches.create(completion_window="24h", endpoint="/v1/responses", input_file_id="file-1")
            )
        assert made.status == "validating"
        await got(client.batches.retrieve(made.id))
        assert guard.entries() == []
        answers[f"/batches/batch_{number}"] = batch(number, "completed", **ended)
        for _ in range(3):
            await got(client.batches.retrieve(made.id))
        content = await got(client.files.content(f"file-out-{number}"))
        assert content.content == output(number)
        await got(client.close())
    (entry,) = guard.entries()
    assert (entry.tags, entry.operation, entry.model) == ({"user": "alice"}, "batches", "gpt-4o-2024-08-06")
    assert entry.usage == Usage(input_tokens=2_000_000, output_tokens=100_000)
    assert (entry.estimated, entry.attempts, entry.status) == (False, 1, "ok")


def test_what_a_batch_cost_says_nothing_of_the_next_call() -> None:
    number = next(_numbers)
    ended = batch(number, "completed", output_file_id=f"file-out-{number}", usage=OPENAI_USAGE)
    usage = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}
    chat = {"id": "c", "object": "chat.completion", "model": "gpt-4o-2024-08-06", "usage": usage, "choices": []}
    answers = {f"/batches/batch_{number}": ended, "/chat/completions": chat}
    with answering(answers) as server, Guard("memory://", budgets=["$500/day"]) as guard:
        guard.instrument()
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="x")
        client.batches.retrieve(f"batch_{number}")
        for _ in range(2):
            client.chat.completions.create(model="gpt-4o-2024-08-06", max_tokens=100, messages=[])
        guard.uninstrument()
        second, _, whole = guard.entries()
        assert whole.cost == Decimal(3)
        assert second.held < Decimal("0.01")


def test_what_a_background_response_cost_is_learned_for_the_next() -> None:
    usage = {"input_tokens": 10, "output_tokens": 100, "total_tokens": 110}
    shared = {"object": "response", "model": "gpt-4o", "background": True, "output": [], "created_at": 1}
    answers: dict[str, Any] = {}
    with answering(answers) as server, Guard("memory://", budgets=["$500/day"]) as guard:
        guard.instrument()
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="x")
        for _ in range(2):
            name = f"resp_learned_{next(_numbers)}"
            answers["/v1/responses"] = {"id": name, "status": "queued", **shared}
            answers[f"/responses/{name}"] = {"id": name, "status": "completed", "usage": usage, **shared}
            client.responses.create(model="gpt-4o", input="hi", background=True, max_output_tokens=10_000)
            held = guard.entries()[0].held
            client.responses.retrieve(name)
        guard.uninstrument()
        # A hundred tokens, and as much again while only one was seen; not the ten thousand that are allowed.
        assert Decimal("0.001") < held < Decimal("0.003")


async def test_where_a_batch_tells_no_usage_its_file_does(guard: Guard, kind: str) -> None:
    number = next(_numbers)
    answers = {
        f"/batches/batch_{number}": batch(number, "completed", output_file_id=f"file-out-{number}"),
        f"/files/file-out-{number}/content": ("application/octet-stream", output(number)),
        "/files/file-other/content": ("application/octet-stream", b"%PDF-1.7"),
    }
    with answering(answers) as server:
        client: Any = (openai.AsyncOpenAI if kind == "async" else openai.OpenAI)(
            base_url=f"{server.url}/v1", api_key="x"
        )
        await got(client.batches.retrieve(f"batch_{number}"))
        assert (await got(client.files.content("file-other"))).content == b"%PDF-1.7"
        assert guard.entries() == []
        for _ in range(2):
            await got(client.files.content(f"file-out-{number}"))
        await got(client.close())
    (entry,) = guard.entries()
    assert entry.usage == Usage(input_tokens=2_000_000, output_tokens=100_000)


async def test_anthropic_tells_the_usage_in_each_line_of_the_results(guard: Guard, kind: str) -> None:
    number = next(_numbers)
    known = {
        "id": f"msgbatch_{number}", "type": "message_batch", "processing_status": "ended", "created_at": "2026-01-01",
        "expires_at": "2026-01-02", "request_counts": {},
    }  # fmt: skip
    usage = {"input_tokens": 100_000, "output_tokens": 100_000, "service_tier": "batch"}

    def line(name: str, **result: Any) -> bytes:
        return json.dumps({"custom_id": name, "result": result}).encode() + b"\n"

    def told(name: str) -> bytes:
        message = {"id": f"msg_{number}_{name}", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
                   "content": [], "stop_reason": "end_turn", "usage": usage}  # fmt: skip
        return line(name, type="succeeded", message=message)

    results = told("a") + line("b", type="errored", error={"type": "error"}) + told("c") + line("d", type="expired")
    with answering({
        "/v1/messages/batches": known,
        f"/batches/msgbatch_{number}/results": ("application/x-jsonl", results),
    }) as server:  # fmt: skip
        known["results_url"] = f"{server.url}/v1/messages/batches/msgbatch_{number}/results"
        server.answers[f"/batches/msgbatch_{number}"] = known
        cls: Any = anthropic.AsyncAnthropic if kind == "async" else anthropic.Anthropic
        client = cls(base_url=server.url, api_key="x")
        with tagged(user="alice"):
            await got(client.messages.batches.create(requests=[]))
        for _ in range(2):
            lines = await each(await got(client.messages.batches.results(f"msgbatch_{number}")))
            assert [each.custom_id for each in lines] == ["a", "b", "c", "d"]
        await got(client.close())
    entries = guard.entries()
    assert [entry.tags for entry in entries] == [{"user": "alice"}] * 2
    assert [entry.response_id for entry in entries] == [f"msg_{number}_c", f"msg_{number}_a"]
    # Half of $3 and of $15 a million.
    assert [entry.cost for entry in entries] == [Decimal("0.90")] * 2


async def test_a_whole_batch_is_not_priced_as_one_large_request(guard: Guard, kind: str) -> None:
    number = next(_numbers)
    ended = batch(number, "completed", model="gpt-5.4", output_file_id=f"f-{number}", usage=OPENAI_USAGE)
    with answering({f"/batches/batch_{number}": ended}) as server:
        client: Any = (openai.AsyncOpenAI if kind == "async" else openai.OpenAI)(
            base_url=f"{server.url}/v1", api_key="x"
        )
        await got(client.batches.retrieve(f"batch_{number}"))
        await got(client.close())
    (entry,) = guard.entries()
    receipt = entry.receipt
    assert receipt is not None
    assert "small requests" in receipt.source
    small = guard.price("openai", "gpt-5.4", Usage(input_tokens=1_000, output_tokens=50), batch="true")
    assert small.cost is not None
    assert entry.cost == small.cost * 2_000
