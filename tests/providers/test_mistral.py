"""mistralai, 1.x to 3.x: run on the current one here, on older ones by test_matrix.py."""

from __future__ import annotations

from typing import Any

from costguard.pricing.usage import Usage
from costguard.providers.mistral import MISTRAL
from costguard.providers.usage_mistral import mistral_answer, mistral_usage
from tests.providers.contract import ASK, MODEL, Contract, Speaker
from tests.providers.mistral_sdk import HTTPX, BackoffStrategy, Mistral, RetryConfig
from tests.providers.recording import Recording
from tests.providers.wires import WireServer

MESSAGES: list[Any] = [{"role": "user", "content": ASK}]


class MistralSpeaker(Speaker):
    row = MISTRAL

    def __init__(self, server: WireServer, kind: str) -> None:
        super().__init__(server, kind)
        self._sync, self._async = HTTPX.Client(timeout=20), HTTPX.AsyncClient(timeout=20)

    def client(self, mode: str) -> Any:
        retries = RetryConfig("backoff", BackoffStrategy(1, 2, 1.0, 5_000), False)
        return Mistral(
            api_key="none", server_url=self.server.url(mode), client=self._sync, async_client=self._async,
            retry_config=retries,
        )  # fmt: skip

    def ask(self, client: Any) -> Any:
        return (client.chat.complete_async if self.is_async else client.chat.complete)(model=MODEL, messages=MESSAGES)

    def stream(self, client: Any) -> Any:
        return (client.chat.stream_async if self.is_async else client.chat.stream)(model=MODEL, messages=MESSAGES)

    def text(self, item: Any) -> str:
        choice = (item.data if hasattr(item, "data") else item).choices[0]
        return str((choice.delta if hasattr(choice, "delta") else choice.message).content or "")

    async def leave(self, stream: Any) -> None:
        await (stream.response.aclose() if self.is_async else self.got(stream.response.close()))

    async def close(self) -> None:
        self._sync.close()
        await self._async.aclose()


class TestMistral(Contract):
    speaker = MistralSpeaker

    async def test_embeddings_have_no_output(self, sdk: Speaker, policy: Recording) -> None:
        of = sdk.client("plain").embeddings
        await sdk.got((of.create_async if sdk.is_async else of.create)(model="mistral-embed", inputs=["Paris"]))
        call, outcome = policy.only()
        assert (call.operation, call.produces_output, outcome.usage) == ("embeddings", False, Usage(input_tokens=100))

    async def test_ocr_is_counted_in_pages(self, sdk: Speaker, policy: Recording) -> None:
        of = sdk.client("plain").ocr
        document = {"type": "document_url", "document_url": "https://example.com/a.pdf"}
        await sdk.got((of.process_async if sdk.is_async else of.process)(model="mistral-ocr-latest", document=document))
        call, outcome = policy.only()
        assert (call.operation, outcome.usage, outcome.estimated) == ("ocr", Usage(pages=3), False)

    async def test_a_transcription_is_counted_in_seconds_and_tokens(self, sdk: Speaker, policy: Recording) -> None:
        of = sdk.client("plain").audio.transcriptions
        file = {"file_name": "a.wav", "content": b"RIFF"}
        await sdk.got((of.complete_async if sdk.is_async else of.complete)(model="voxtral-mini-latest", file=file))
        call, outcome = policy.only()
        assert (call.operation, call.model) == ("transcriptions", "voxtral-mini-latest")
        assert outcome.usage == Usage(input_tokens=378, audio_input_tokens=375, output_tokens=11, seconds=3)

    async def test_a_conversation_counts_its_searches_and_what_they_put_in(
        self, sdk: Speaker, policy: Recording
    ) -> None:
        of = sdk.client("plain").beta.conversations
        start = of.start_async if sdk.is_async else of.start
        await sdk.got(start(model="mistral-medium-latest", inputs=ASK))
        call, outcome = policy.only()
        assert (call.operation, outcome.model) == ("conversations", "mistral-medium-0001")
        assert outcome.usage == Usage(input_tokens=7300, output_tokens=55, web_searches=2)


def test_cached_tokens_have_two_names() -> None:
    told = {"prompt_tokens": 175, "completion_tokens": 39, "total_tokens": 214}
    expected = Usage(input_tokens=175, cache_read_tokens=174, output_tokens=39)
    assert mistral_usage({**told, "num_cached_tokens": 174}) == expected
    assert mistral_usage({**told, "prompt_tokens_details": {"cached_tokens": 174}}) == expected


def test_audio_inside_the_prompt_is_not_counted_twice() -> None:
    told = {"prompt_tokens": 384, "completion_tokens": 201, "total_tokens": 585}
    expected = Usage(input_tokens=384, audio_input_tokens=375, output_tokens=201)
    assert mistral_usage({**told, "prompt_tokens_details": {"audio_tokens": 375}}) == expected


def test_a_priority_tier_stands_in_the_usage() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, "service_tier": "priority"}
    assert mistral_answer({"model": "m", "usage": usage}).context == (("service_tier", "priority"),)
    usage["service_tier"] = "standard"
    assert mistral_answer({"model": "m", "usage": usage}).context == ()
