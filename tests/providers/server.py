"""A provider on loopback that speaks OpenAI's and Anthropic's wire protocols, well or badly.

The first segment of the path says how: /plain/v1/chat/completions, or

    gzip, ragged  the stream is compressed; comes in pieces of seven bytes
    fail2         two 500s come first
    refuse        always 400
    cut           the connection dies after three events
    error         the third event of a stream is an error
    stay          after three events nothing more comes until `Server.release`
    hangs         no answer to the first request
    hang          no answer before `Server.release`
    bare          no usage is reported
    broken        the usage is nonsense
"""

from __future__ import annotations

import gzip
import json
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WORDS = ["One", " two", " three", " four", " five"]
CHAT_USAGE: dict[str, Any] = {
    "prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120,
    "prompt_tokens_details": {"cached_tokens": 40}, "completion_tokens_details": {"reasoning_tokens": 15},
}  # fmt: skip
RESPONSE_USAGE: dict[str, Any] = {
    "input_tokens": 100, "output_tokens": 20, "total_tokens": 120,
    "input_tokens_details": {"cached_tokens": 40}, "output_tokens_details": {"reasoning_tokens": 15},
}  # fmt: skip
MESSAGE_USAGE: dict[str, Any] = {
    "input_tokens": 60, "cache_read_input_tokens": 40, "cache_creation_input_tokens": 0, "output_tokens": 20,
    "service_tier": "standard",
}  # fmt: skip


def chat(body: dict[str, Any], usage: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": '{"n": 5}' if "response_format" in body else "".join(WORDS)}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-2024-08-06",
        "choices": [choice], "usage": usage, "service_tier": "default",
    }  # fmt: skip


def chat_events(body: dict[str, Any], usage: Any) -> Iterator[tuple[str, Any]]:
    asked = (body.get("stream_options") or {}).get("include_usage")
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-2024-08-06"}
    if asked:
        base["usage"] = None  # type: ignore[assignment]
    for word in WORDS:
        yield (
            "",
            {**base, "choices": [{"index": 0, "delta": {"role": "assistant", "content": word}, "finish_reason": None}]},
        )
    yield "", {**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    if asked and usage:
        yield "", {**base, "choices": [], "usage": usage}
    yield "", "[DONE]"


def response(body: dict[str, Any], usage: Any, status: str = "completed") -> dict[str, Any]:
    text = {"type": "output_text", "text": '{"n": 5}' if "text" in body else "".join(WORDS), "annotations": []}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [text]}
    return {
        "id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-4o-2024-08-06", "status": status,
        "output": [message] if status == "completed" else [], "usage": usage if status == "completed" else None,
        "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "service_tier": "flex",
        "background": body.get("background", False), "error": None, "metadata": {}, "instructions": None,
        "incomplete_details": None, "temperature": 1.0, "top_p": 1.0,
    }  # fmt: skip


def response_events(body: dict[str, Any], usage: Any) -> Iterator[tuple[str, Any]]:
    def event(kind: str, number: int, **more: Any) -> tuple[str, Any]:
        return kind, {"type": kind, "sequence_number": number, **more}

    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    yield event("response.created", 0, response=response(body, usage, "in_progress"))
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    yield event("response.output_item.added", 1, output_index=0, item=item)
    part = {"type": "output_text", "text": "", "annotations": []}
    yield event("response.content_part.added", 2, **place, part=part)
    for number, word in enumerate(WORDS):
        yield event("response.output_text.delta", 3 + number, **place, delta=word, logprobs=[])
    yield event("response.output_text.done", 8, **place, text="".join(WORDS), logprobs=[])
    yield event("response.completed", 9, response=response(body, usage))


def message(body: dict[str, Any], usage: Any) -> dict[str, Any]:
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-5",
        "content": [{"type": "text", "text": "".join(WORDS)}], "stop_reason": "end_turn", "stop_sequence": None,
        "usage": usage,
    }  # fmt: skip


def message_events(body: dict[str, Any], usage: Any) -> Iterator[tuple[str, Any]]:
    start = {**message(body, usage), "content": [], "stop_reason": None}
    if isinstance(usage, dict) and "output_tokens" in usage:
        start["usage"] = {**usage, "output_tokens": 1}
    yield "message_start", {"type": "message_start", "message": start}
    block = {"type": "text", "text": ""}
    yield "content_block_start", {"type": "content_block_start", "index": 0, "content_block": block}
    for word in WORDS:
        delta = {"type": "text_delta", "text": word}
        yield "content_block_delta", {"type": "content_block_delta", "index": 0, "delta": delta}
    yield "content_block_stop", {"type": "content_block_stop", "index": 0}
    told = {"output_tokens": usage["output_tokens"]} if isinstance(usage, dict) and "output_tokens" in usage else usage
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    yield "message_delta", {"type": "message_delta", "delta": end, "usage": told}
    yield "message_stop", {"type": "message_stop"}


def embedding(body: dict[str, Any], usage: Any) -> dict[str, Any]:
    told = usage and {"prompt_tokens": 100, "total_tokens": 100}
    data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]
    return {"object": "list", "model": "text-embedding-3-small", "data": data, "usage": told}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        _, _, rest = self.path[1:].partition("/")
        self.server.seen(rest, {}, self)
        if rest.startswith("v1/responses/"):
            self.server.polls += 1
            status = "completed" if self.server.polls > 1 else "in_progress"
            return self.answer(200, response({"background": "resp_1" in rest}, RESPONSE_USAGE, status))
        return self.answer(200, {"object": "list", "data": [], "has_more": False})

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        body = json.loads(raw) if raw and "json" in self.headers.get("content-type", "") else {}
        mode, _, rest = self.path[1:].partition("/")
        count = self.server.seen(rest, body, self)
        if mode == "fail2" and count <= 2:
            return self.answer(500, {"error": {"message": "try again", "type": "server_error"}}, retry=True)
        if mode == "refuse":
            return self.answer(400, {"error": {"message": "no", "type": "invalid_request_error"}})
        if mode == "hangs" and count == 1:
            self.server.release.wait(20)
            self.close_connection = True
            return None
        if mode == "hang":
            self.server.release.wait(20)
        path = rest.split("?")[0]
        if path.endswith("count_tokens") or path.endswith("input_tokens"):
            return self.answer(200, {"input_tokens": 7, "object": "response.input_tokens"})
        if path.endswith("/responses") and body.get("background"):
            return self.answer(200, response(body, None, "queued"))
        kinds = {
            "chat/completions": (chat, chat_events, CHAT_USAGE),
            "responses": (response, response_events, RESPONSE_USAGE),
            "messages": (message, message_events, MESSAGE_USAGE),
            "embeddings": (embedding, None, CHAT_USAGE),
        }
        plain, events, usage = next(kind for end, kind in kinds.items() if path.endswith(end))
        if mode == "bare":
            usage = {} if events is message_events else None
        if mode == "broken":
            usage = {name: "many" if isinstance(count, int) else -1 for name, count in usage.items()}
        if body.get("stream") and events:
            return self.stream(mode, events(body, usage))
        return self.answer(200, plain(body, usage))

    def answer(self, status: int, body: Any, *, retry: bool = False) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if retry:
            self.send_header("Retry-After-Ms", "1")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def stream(self, mode: str, events: Iterator[tuple[str, Any]]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        if mode == "gzip":
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        texts = []
        for number, (name, data) in enumerate(events):
            if number == 3 and mode == "error":
                name, data = "error", {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}  # noqa: PLW2901
            text = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"), ensure_ascii=False)
            texts.append((f"event: {name}\n" if name else "") + f"data: {text}\n\n")
            if number == 3 and mode == "error":
                break
        try:
            if mode in ("gzip", "ragged"):
                whole = "".join(texts).encode()
                whole = gzip.compress(whole) if mode == "gzip" else whole
                for at in range(0, len(whole), 7 if mode == "ragged" else 50):
                    self.chunk(whole[at : at + (7 if mode == "ragged" else 50)])
            else:
                for number, text in enumerate(texts):
                    if number == 3 and mode == "cut":
                        self.close_connection = True
                        return
                    if number == 3 and mode == "stay":
                        self.server.release.wait(20)
                    self.chunk(text.encode())
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.release = threading.Event()
        self.requests: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.polls = 0
        self._count: Counter[str] = Counter()
        self.host = f"127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def handle_error(self, *_: Any) -> None:
        pass  # clients that go away are what is tested

    def url(self, mode: str) -> str:
        return f"http://{self.host}/{mode}"

    def seen(self, path: str, body: dict[str, Any], handler: Handler) -> int:
        self._count[path] += 1
        self.requests.append((path, body, {name.lower(): value for name, value in handler.headers.items()}))
        return self._count[path]
