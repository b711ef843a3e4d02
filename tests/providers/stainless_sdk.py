"""How an SDK of Stainless's make is asked, in its contract and with recorded exchanges; its row is all that differs."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

from tests.providers.calling import consume, fields_of, known_and_extra, watched
from tests.providers.contract import ASK, MODEL, Speaker
from tests.providers.recording import Recording
from tests.providers.wires import WireServer

MESSAGES: list[Any] = [{"role": "user", "content": ASK}]


class StainlessSpeaker(Speaker):
    """sync, asynchronous: the client classes; base: its `_base_client`; ceiling: what it calls the most output"""

    sync: Any
    asynchronous: Any
    base: ModuleType
    ceiling: str

    def __init__(self, server: WireServer, kind: str) -> None:
        super().__init__(server, kind)
        cls = self.asynchronous if self.is_async else self.sync
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
        return body.get(self.ceiling)

    async def leave(self, stream: Any) -> None:
        await self.got(stream.close())

    @classmethod
    def functions(cls) -> list[Any]:
        return [cls.base.SyncAPIClient.request, cls.base.AsyncAPIClient.request]

    async def close(self) -> None:
        await self.got(self._client.close())


class StainlessClients:
    """The clients of one event loop; each call gets a copy that goes to its own address."""

    def __init__(self, sync: Any, asynchronous: Any, base: ModuleType) -> None:
        self._made = {
            "sync": sync(api_key="none", timeout=20),
            "async": asynchronous(api_key="none", timeout=20),
        }
        # Two retries wait a second and more otherwise.
        base.INITIAL_RETRY_DELAY = 0.01  # type: ignore[attr-defined]

    def to(self, base: str, kind: str, options: str) -> Any:
        return self._made[kind].with_options(base_url=base, max_retries=2 if "fail" in options else 0)

    async def close(self) -> None:
        for client in self._made.values():
            closed = client.close()
            if inspect.isawaitable(closed):
                await closed


async def exchanged(method: Any, record: dict[str, Any], options: str, error: type[Exception]) -> Recording:
    """What the policy was told of one exchange. error: the SDK's own, which may come where one was recorded"""
    with watched() as recording:
        try:
            await consume(method(**known_and_extra(method, fields_of(record))))
        except error:
            if record["status"] < 400 and not options and '"error"' not in record["response_body"]:
                raise
        except Exception:
            # A cut connection comes out of a stream as the transport's own error.
            if "cut" not in options:
                raise
    return recording
