"""The calls that every contender makes: the same SDK methods, with everything below them in memory.

`stub` replaces the one request function of a Stainless SDK by one that returns a finished answer, and
the walk over the arguments that its public methods make: what is left is a thin public method and the
contender. That walk is 340 us of openai's `chat.completions.create`, and its noise alone would hide what
is to be seen here; all contenders go without it, so that what they add stays the same.

`client` gives a client over an in-memory transport that answers with a stream of server-sent events, one
network chunk for each event.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from importlib import import_module
from typing import Any

CLIENTS = {"openai": "OpenAI", "anthropic": "Anthropic"}
MODEL = {"openai": "gpt-4o-mini", "anthropic": "claude-haiku-4-5"}
EVENTS = 500
QUESTION = "How does a tide table work, and why is the second high water of a day often lower than the first? " * 4
MESSAGES = {
    "openai": [
        {"role": "system", "content": "You answer questions about the sea in two sentences."},
        {"role": "user", "content": QUESTION},
    ],
    "anthropic": [{"role": "user", "content": QUESTION}],
}
_ANSWER = "The moon and the sun pull unevenly, so that two high waters of one day differ. " * 4
_CHAT = {
    "id": "chatcmpl-bench",
    "object": "chat.completion",
    "created": 1_790_000_000,
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "logprobs": None,
            "message": {"role": "assistant", "content": _ANSWER, "refusal": None, "annotations": []},
        }
    ],
    "usage": {
        "prompt_tokens": 112,
        "completion_tokens": 74,
        "total_tokens": 186,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    },
    "service_tier": "default",
    "system_fingerprint": "fp_bench",
}
_MESSAGE = {
    "id": "msg_bench",
    "type": "message",
    "role": "assistant",
    "model": "claude-haiku-4-5-20251001",
    "content": [{"type": "text", "text": _ANSWER}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {
        "input_tokens": 112,
        "output_tokens": 74,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "service_tier": "standard",
    },
}


def question(sdk: str) -> dict[str, Any]:
    """The arguments of every call."""
    return {"model": MODEL[sdk], "max_tokens": 256, "messages": MESSAGES[sdk]}


def ask(sdk: str, client: Any) -> Callable[..., Any]:
    """The public method that a call is made with."""
    method: Callable[..., Any] = client.chat.completions.create if sdk == "openai" else client.messages.create
    return method


def stub(sdk: str) -> None:
    """Replace everything below the public methods of an SDK by a finished answer. Before any instrumentation."""
    base = import_module(f"{sdk}._base_client")
    if sdk == "openai":
        answer = import_module("openai.types.chat").ChatCompletion.model_validate(_CHAT)
    else:
        answer = import_module("anthropic.types").Message.model_validate(_MESSAGE)
    raw = _Raw(answer)

    def request(self: Any, cast_to: Any, options: Any, *args: Any, **kwargs: Any) -> Any:
        # litellm asks for the raw response
        return raw if options.headers and "X-Stainless-Raw-Response" in options.headers else answer

    async def request_async(self: Any, cast_to: Any, options: Any, *args: Any, **kwargs: Any) -> Any:
        return answer

    base.SyncAPIClient.request = request
    base.AsyncAPIClient.request = request_async
    _stub_transform(sdk)


def _stub_transform(sdk: str) -> None:
    name = (
        "openai.resources.chat.completions.completions" if sdk == "openai" else "anthropic.resources.messages.messages"
    )
    resource: Any = import_module(name)
    is_given: Callable[[object], bool] = import_module(f"{sdk}._utils").is_given

    def transform(data: dict[str, Any], expected: object) -> dict[str, Any]:
        return {key: value for key, value in data.items() if is_given(value)}

    async def transform_async(data: dict[str, Any], expected: object) -> dict[str, Any]:
        return transform(data, expected)

    # Looked up at each call as globals of the module, so that replacing them there is enough.
    if hasattr(resource, "maybe_transform"):
        resource.maybe_transform, resource.async_maybe_transform = transform, transform_async


class _Raw:
    headers: dict[str, str] = {}  # noqa: RUF012 - nobody writes to it

    def __init__(self, answer: object) -> None:
        self._answer = answer

    def parse(self) -> object:
        return self._answer


def client(sdk: str, *, asynchronous: bool = False) -> Any:
    """A client whose network is in memory: every request is answered with the stream of `events`."""
    package = import_module(sdk)
    new_transport = {"openai": 3, "anthropic": 1}[sdk] <= int(package.__version__.split(".")[0])
    http = import_module("httpx2" if new_transport else "httpx")
    chunks = events(sdk)

    class Body(http.SyncByteStream, http.AsyncByteStream):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            # As a socket: what was read is gone. The async openai client reads on after `[DONE]`.
            self._left = iter(chunks)

        def __iter__(self) -> Iterator[bytes]:
            return self._left

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for chunk in self._left:
                yield chunk

    def answer(request: Any) -> Any:
        return http.Response(200, headers={"content-type": "text/event-stream"}, stream=Body())

    transport = http.MockTransport(answer)
    session = http.AsyncClient(transport=transport) if asynchronous else http.Client(transport=transport)
    name = CLIENTS[sdk]
    cls = getattr(package, f"Async{name}" if asynchronous else name)
    return cls(api_key="bench", http_client=session, max_retries=0)


def events(sdk: str) -> list[bytes]:
    """Network chunks of one stream, one event each; EVENTS of them carry text."""
    if sdk == "openai":
        head = {key: _CHAT[key] for key in ("id", "created", "model", "service_tier", "system_fingerprint")}
        head["object"] = "chat.completion.chunk"
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        deltas += [{"content": f" word{number}"} for number in range(EVENTS)]
        bodies: list[dict[str, Any]] = [
            {**head, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}], "usage": None}
            for delta in deltas
        ]
        bodies.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": None})
        bodies.append({**head, "choices": [], "usage": _CHAT["usage"]})
        return [b"data: %s\n\n" % json.dumps(body, separators=(",", ":")).encode() for body in bodies] + [
            b"data: [DONE]\n\n"
        ]
    start = {**_MESSAGE, "content": [], "stop_reason": None}
    parts: list[dict[str, Any]] = [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": f" word{number}"}}
            for number in range(EVENTS)
        ),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 74},
        },
        {"type": "message_stop"},
    ]
    return [
        b"event: %s\ndata: %s\n\n" % (part["type"].encode(), json.dumps(part, separators=(",", ":")).encode())
        for part in parts
    ]


def repeat(method: Callable[..., Any], arguments: dict[str, Any]) -> Callable[[int], None]:
    """Plain calls, one after the other."""

    def run(count: int) -> None:
        for _ in range(count):
            method(**arguments)

    return run


def repeat_streams(method: Callable[..., Any], arguments: dict[str, Any]) -> Callable[[int], None]:
    """Streams read to their end."""

    def run(count: int) -> None:
        for _ in range(count):
            for _chunk in method(**arguments, stream=True):
                pass

    return run


def repeat_bytes(resource: Any, arguments: dict[str, Any]) -> Callable[[int], None]:
    """Streams whose bytes are read as they come: nothing but the transport and the contender."""
    create = resource.with_streaming_response.create

    def run(count: int) -> None:
        for _ in range(count):
            with create(**arguments, stream=True) as response:
                for _chunk in response.iter_bytes():
                    pass

    return run


def repeat_async(
    loop: asyncio.AbstractEventLoop, method: Callable[..., Any], arguments: dict[str, Any]
) -> Callable[[int], None]:
    async def run(count: int) -> None:
        for _ in range(count):
            await method(**arguments)

    return _on(loop, run)


def repeat_streams_async(
    loop: asyncio.AbstractEventLoop, method: Callable[..., Any], arguments: dict[str, Any]
) -> Callable[[int], None]:
    async def run(count: int) -> None:
        for _ in range(count):
            async for _chunk in await method(**arguments, stream=True):
                pass

    return _on(loop, run)


def _on(loop: asyncio.AbstractEventLoop, run: Callable[[int], Coroutine[Any, Any, None]]) -> Callable[[int], None]:
    return lambda count: loop.run_until_complete(run(count))
