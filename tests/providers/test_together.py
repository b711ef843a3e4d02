"""together, a Stainless SDK: its row is all that is written for it."""

from __future__ import annotations

from typing import Any

import pytest
import together
import together._base_client

from costguard.providers.together import TOGETHER
from tests.providers.contract import ASK, MODEL, Contract, Speaker
from tests.providers.wires import WireServer

MESSAGES: list[Any] = [{"role": "user", "content": ASK}]


@pytest.fixture(autouse=True)
def retry_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together._base_client, "INITIAL_RETRY_DELAY", 0.001)


class TogetherSpeaker(Speaker):
    row = TOGETHER

    def __init__(self, server: WireServer, kind: str) -> None:
        super().__init__(server, kind)
        cls = together.AsyncTogether if self.is_async else together.Together
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
        return body.get("max_tokens")

    async def leave(self, stream: Any) -> None:
        await self.got(stream.close())

    @classmethod
    def functions(cls) -> list[Any]:
        base = together._base_client
        return [base.SyncAPIClient.request, base.AsyncAPIClient.request]

    async def close(self) -> None:
        await self.got(self._client.close())


class TestTogether(Contract):
    speaker = TogetherSpeaker
