"""huggingface_hub, 0.30 to 2.x: chat, text generation and other tasks, through its router or without."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from huggingface_hub import AsyncInferenceClient, InferenceClient

from costguard.pricing.usage import Usage
from costguard.providers.huggingface import HUGGINGFACE, _where, parsed
from costguard.providers.usage_huggingface import huggingface_answer, text_guess
from tests.providers.contract import ASK, MODEL, Contract, Speaker
from tests.providers.recording import Recording
from tests.providers.wires import TEXT

MESSAGES: list[Any] = [{"role": "user", "content": ASK}]


class HuggingFaceSpeaker(Speaker):
    row = HUGGINGFACE
    retries = False

    def client(self, mode: str) -> Any:
        cls = AsyncInferenceClient if self.is_async else InferenceClient
        made = cls(base_url=self.server.url(mode) + "/v1", api_key="none", timeout=20)
        self.made.append(made)
        return made

    def ask(self, client: Any) -> Any:
        return client.chat_completion(MESSAGES, model=MODEL)

    def stream(self, client: Any) -> Any:
        return client.chat_completion(MESSAGES, model=MODEL, stream=True)

    def text(self, item: Any) -> str:
        choice = item.choices[0]
        return str((choice.delta if hasattr(choice, "delta") else choice.message).content or "")

    async def close(self) -> None:
        for client in self.made:
            closed = client.close() if hasattr(client, "close") else None
            if inspect.isawaitable(closed):
                await closed


class TestHuggingFace(Contract):
    speaker = HuggingFaceSpeaker

    async def test_text_generation_is_estimated_by_its_text(self, sdk: Speaker, policy: Recording) -> None:
        cls = AsyncInferenceClient if sdk.is_async else InferenceClient
        client = cls(model=sdk.server.url("plain") + "/generate", token="none")
        sdk.made.append(client)
        assert await sdk.got(client.text_generation(ASK)) == TEXT
        call, outcome = policy.only()
        assert (call.operation, outcome.status, outcome.estimated) == ("completions", "ok", True)
        assert outcome.usage is not None
        assert outcome.usage.input_tokens in range(2, 20)
        assert outcome.usage.output_tokens in range(4, 8)


@pytest.mark.parametrize(
    ("url", "model", "expected"),
    [
        ("https://router.huggingface.co/v1/chat/completions", "a/b:cerebras", ("a/b", "huggingface_cerebras")),
        ("https://router.huggingface.co/v1/chat/completions", "a/b:cheapest", ("a/b", "huggingface")),
        ("https://router.huggingface.co/v1/chat/completions", "a/b", ("a/b", "huggingface")),
        ("https://router.huggingface.co/together/v1/chat/completions", "a/b", ("a/b", "huggingface_together")),
        ("https://router.huggingface.co/hf-inference/models/a/b", "a/b", ("a/b", "huggingface_hf-inference")),
        ("https://api.together.xyz/v1/chat/completions", "a/b", ("a/b", "together")),
        ("https://x.endpoints.huggingface.cloud/v1/chat/completions", "tgi", ("tgi", "huggingface")),
    ],
)
def test_the_url_and_the_name_of_the_model_say_who_is_paid(url: str, model: str, expected: tuple[str, str]) -> None:
    assert _where(HUGGINGFACE, url, model) == expected


def test_text_generation_counts_what_the_server_details() -> None:
    details = {"generated_tokens": 9, "prefill": [{"id": 1}, {"id": 2}], "tokens": []}
    assert huggingface_answer([{"generated_text": "a", "details": details}]).usage == Usage(
        input_tokens=2, output_tokens=9
    )
    details["prefill"] = []
    answer = [{"generated_text": "a", "details": details}]
    assert huggingface_answer(answer).usage is None
    assert text_guess({"inputs": "Count to five."}, answer).output_tokens == 9


@pytest.mark.parametrize("content", [b"\x89PNG", b"", b"{broken", "text", None])
def test_a_body_that_is_no_json_says_nothing(content: Any) -> None:
    assert parsed(content) is None
    assert huggingface_answer(parsed(content)).usage is None
