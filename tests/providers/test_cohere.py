"""cohere, 5.x to 7.x, both versions of its API."""

from __future__ import annotations

from typing import Any

import cohere
import cohere.core.http_client
import httpx
import pytest

from costguard.pricing.usage import Usage
from costguard.providers.cohere import COHERE
from costguard.providers.usage_cohere import cohere_usage
from costguard.tags import tagged
from tests.providers.contract import ASK, FULL, MODEL, Contract, Speaker
from tests.providers.recording import Recording
from tests.providers.wires import WireServer

RETRY: Any = {"max_retries": 2}


@pytest.fixture(autouse=True)
def retry_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INITIAL_RETRY_DELAY_SECONDS", "MAX_RETRY_DELAY_SECONDS"):
        monkeypatch.setattr(cohere.core.http_client, name, 0.001)


class CohereSpeaker(Speaker):
    row = COHERE
    answered_model = None
    version = "V2"

    def __init__(self, server: WireServer, kind: str) -> None:
        super().__init__(server, kind)
        self._sync, self._async = httpx.Client(timeout=20), httpx.AsyncClient(timeout=20)

    def client(self, mode: str) -> Any:
        made = getattr(cohere, f"{'Async' if self.is_async else ''}Client{self.version}")
        transport = self._async if self.is_async else self._sync
        return made(api_key="none", base_url=self.server.url(mode), httpx_client=transport)

    def ask(self, client: Any) -> Any:
        return client.chat(model=MODEL, messages=[{"role": "user", "content": ASK}], request_options=RETRY)

    def stream(self, client: Any) -> Any:
        return client.chat_stream(model=MODEL, messages=[{"role": "user", "content": ASK}])

    def text(self, item: Any) -> str:
        if hasattr(item, "finish_reason") and hasattr(item, "message"):
            return str(item.message.content[0].text)
        return str(item.delta.message.content.text) if item.type == "content-delta" else ""

    async def close(self) -> None:
        self._sync.close()
        await self._async.aclose()


class CohereSpeakerV1(CohereSpeaker):
    version = ""

    def ask(self, client: Any) -> Any:
        return client.chat(model=MODEL, message=ASK, request_options=RETRY)

    def stream(self, client: Any) -> Any:
        return client.chat_stream(model=MODEL, message=ASK)

    def text(self, item: Any) -> str:
        if getattr(item, "event_type", "text-generation") != "text-generation":
            return ""
        return str(item.text)


class TestCohere(Contract):
    speaker = CohereSpeaker

    async def test_a_rerank_is_counted_in_search_units(self, sdk: Speaker, policy: Recording) -> None:
        await sdk.got(sdk.client("plain").rerank(model="rerank-v3.5", query="a", documents=["b", "c"]))
        call, outcome = policy.only()
        assert (call.operation, call.produces_output) == ("rerank", False)
        assert (outcome.usage, outcome.estimated) == (Usage(search_units=2), False)

    async def test_counting_tokens_is_free(self, sdk: Speaker, policy: Recording) -> None:
        await sdk.got(sdk.client("plain").tokenize(model=MODEL, text="a b", offline=False))
        assert policy.reserved == policy.settled == []

    async def test_what_the_caller_adds_to_the_body_wins_and_is_altered_too(
        self, sdk: Speaker, policy: Recording
    ) -> None:
        client = sdk.client("plain")
        more: Any = {"additional_body_parameters": {"max_tokens": 50}}
        messages: Any = [{"role": "user", "content": ASK}]
        await sdk.got(client.chat(model=MODEL, messages=messages, max_tokens=90, request_options=more))
        call, _ = policy.only()
        assert call.max_output_tokens == 50


class TestCohereV1(Contract):
    speaker = CohereSpeakerV1

    @pytest.mark.parametrize("kind", ["application/stream+json", "text/event-stream", "application/json", "text/plain"])
    async def test_a_stream_of_lines_is_read_whatever_it_is_called(
        self, sdk: Speaker, policy: Recording, wire: WireServer, kind: str
    ) -> None:
        wire.lines_as = kind
        try:
            _ = [item async for item in sdk.each(sdk.stream(sdk.client("plain")))]
        finally:
            wire.lines_as = "application/x-ndjson"
        assert (policy.only()[1].usage, policy.only()[1].response_id) == (FULL, "c-1")

    async def test_batches_of_texts_keep_the_tags_of_the_caller(self, sdk: Speaker, policy: Recording) -> None:
        client = sdk.client("plain")
        with tagged(user="alice"):
            await sdk.got(client.embed(model="embed-v4.0", texts=["a"] * 200, input_type="search_document"))
        assert [call.tags.get("user") for call, _ in policy.settled] == ["alice"] * 3
        assert {call.operation for call, _ in policy.settled} == {"embeddings"}
        assert all(outcome.usage == Usage(input_tokens=100) for _, outcome in policy.settled)


def test_what_is_billed_counts_and_not_what_is_read() -> None:
    billed = {"input_tokens": 62.0, "output_tokens": 38.0}
    assert cohere_usage({"billed_units": billed, "tokens": {"input_tokens": 1531}}) == Usage(
        input_tokens=62, output_tokens=38
    )
    assert cohere_usage({"billed_units": {"input_tokens": 3, "image_tokens": 40, "images": 1}}) == Usage(
        input_tokens=43, image_input_tokens=40
    )


@pytest.mark.parametrize("raw", [{}, None, 7, {"billed_units": {"input_tokens": -1}}, {"billed_units": {}}])
def test_usage_that_is_nonsense_is_none(raw: Any) -> None:
    assert cohere_usage(raw) is None
