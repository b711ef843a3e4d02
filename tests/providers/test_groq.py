"""groq, a Stainless SDK: its row is all that is written for it."""

from __future__ import annotations

from typing import Any

import groq
import groq._base_client
import pytest

from costguard.pricing.usage import Usage
from costguard.providers.groq import GROQ
from costguard.providers.usage import openai_answer
from tests.providers.contract import ASK, MODEL, Contract, Speaker
from tests.providers.wires import WireServer

MESSAGES: list[Any] = [{"role": "user", "content": ASK}]


@pytest.fixture(autouse=True)
def retry_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groq._base_client, "INITIAL_RETRY_DELAY", 0.001)


class GroqSpeaker(Speaker):
    row = GROQ

    def __init__(self, server: WireServer, kind: str) -> None:
        super().__init__(server, kind)
        cls = groq.AsyncGroq if self.is_async else groq.Groq
        self._client: Any = cls(api_key="none", timeout=20)

    def client(self, mode: str) -> Any:
        return self._client.with_options(base_url=self.server.url(mode), max_retries=2)

    def ask(self, client: Any) -> Any:
        return client.chat.completions.create(model=MODEL, messages=MESSAGES)

    def stream(self, client: Any) -> Any:
        return client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)

    def text(self, item: Any) -> str:
        if not item.choices:
            return ""
        choice = item.choices[0]
        return str((choice.delta if hasattr(choice, "delta") else choice.message).content or "")

    def sent_ceiling(self, body: dict[str, Any]) -> Any:
        return body.get("max_completion_tokens")

    async def leave(self, stream: Any) -> None:
        await self.got(stream.close())

    @classmethod
    def functions(cls) -> list[Any]:
        base = groq._base_client
        return [base.SyncAPIClient.request, base.AsyncAPIClient.request]

    async def close(self) -> None:
        await self.got(self._client.close())


class TestGroq(Contract):
    speaker = GroqSpeaker


def test_usage_of_a_stream_may_stand_in_an_object_of_its_own() -> None:
    usage = {"prompt_tokens": 18, "completion_tokens": 73, "total_tokens": 91, "queue_time": 0.28}
    assert openai_answer({"model": "m", "x_groq": {"id": "req_1", "usage": usage}}).usage == Usage(
        input_tokens=18, output_tokens=73
    )
