"""A provider on loopback that writes down what it was asked and what it sold: the truth the books are compared with.

Each caller says in its prompt who it is and what the answer shall cost: "call w3-17 costs 10000", in output tokens.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections import Counter
from contextlib import suppress
from types import TracebackType
from typing import Any

NANOS_FOR_A_TOKEN = 10_000
"""gpt-4o's output is $10 for a million tokens."""

TEN_CENTS = 10_000
"""Output tokens of gpt-4o."""

_PIECES = 5
"""Of a stream, before the last."""

_PROMPT = re.compile(r"call (\S+) costs (\d+)")


def prompt(name: str, tokens: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"call {name} costs {tokens}"}]


class PaidProvider:
    """Speaks OpenAI's chat completions over HTTP/1.1, from an event loop in a thread of its own.

    asked: how often each name was asked for: a request has arrived in full
    sold:  output tokens of each name, written down before the first byte of the answer is sent: from here on it is
           paid, whether anybody reads it or not
    gate:  answers wait for it, so that many calls can be in flight at once
    pause: seconds an answer takes
    host:  the address it listens at
    """

    def __init__(self, *, pause: float = 0.0, host: str = "127.0.0.1") -> None:
        self._host = host
        self.asked: Counter[str] = Counter()
        self.sold: dict[str, int] = {}
        self.sold_again = 0
        self.pause = pause
        self.gate = threading.Event()
        self.gate.set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._port = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self._port}/v1"

    @property
    def nanos(self) -> int:
        """What was sold, in nano-dollars."""
        return sum(self.sold.values()) * NANOS_FOR_A_TOKEN

    def __enter__(self) -> PaidProvider:
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.gate.set()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, self._host, 0, backlog=2048))
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A cancelled one ends with this server.
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
                assert length is not None
                given = json.loads(await reader.readexactly(int(length[1])))
                await self._answer(given, writer)
                await writer.drain()
        writer.close()

    async def _answer(self, given: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        asked = _PROMPT.fullmatch(given["messages"][-1]["content"])
        assert asked is not None
        name, tokens = asked[1], int(asked[2])
        self.asked[name] += 1
        while not self.gate.is_set():
            await asyncio.sleep(0.005)
        if self.pause:
            await asyncio.sleep(self.pause)
        self.sold_again += name in self.sold
        self.sold[name] = tokens
        usage = {"prompt_tokens": 0, "completion_tokens": tokens, "total_tokens": tokens}
        about = {"id": f"chatcmpl-{name}", "created": 1_770_000_000, "model": "gpt-4o-2024-08-06"}
        if given.get("stream"):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            for number in range(_PIECES):
                delta = {"index": 0, "delta": {"content": f"word{number} "}, "finish_reason": None}
                await _send(writer, about | {"object": "chat.completion.chunk", "choices": [delta], "usage": None})
            last = {"index": 0, "delta": {}, "finish_reason": "stop"}
            await _send(writer, about | {"object": "chat.completion.chunk", "choices": [last], "usage": None})
            if (given.get("stream_options") or {}).get("include_usage"):
                await _send(writer, about | {"object": "chat.completion.chunk", "choices": [], "usage": usage})
            writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
            return
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "ok"}}
        body = json.dumps(about | {"object": "chat.completion", "choices": [choice], "usage": usage}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body))
        writer.write(body)


async def _send(writer: asyncio.StreamWriter, event: dict[str, Any]) -> None:
    data = b"data: %s\n\n" % json.dumps(event).encode()
    writer.write(b"%x\r\n%s\r\n" % (len(data), data))
    await writer.drain()
    # Each piece is a piece on the wire, so that a reader waits for every one.
    await asyncio.sleep(0.001)
