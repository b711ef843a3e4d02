"""A provider on loopback that speaks the wire protocols of Mistral, Groq, Together, Hugging Face, Cohere and Ollama.

The first segment of the path says how, as in server.py: plain, fail2, refuse, cut, error, stay, hang, bare, broken.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WORDS = ["One", " two", " three", " four", " five"]
TEXT = "".join(WORDS)
TAKEN, GIVEN = 100, 20

Counts = tuple[Any, Any] | None
"""Input and output tokens as they are told: nonsense, or None for nothing."""


def sse(*events: Any) -> list[bytes]:
    return [
        b"data: " + (event if isinstance(event, bytes) else json.dumps(event).encode()) + b"\n\n" for event in events
    ]


def chat(body: dict[str, Any], counts: Counts, failing: bool) -> Any:
    """OpenAI's protocol; the last chunk has the usage, without being asked, as Mistral, Groq and Together do it."""
    told = counts and {"prompt_tokens": counts[0], "completion_tokens": counts[1], "total_tokens": TAKEN + GIVEN}
    base = {"id": "chat-1", "created": 1, "model": f"{body.get('model')}-0001"}
    if not body.get("stream"):
        message = {"role": "assistant", "content": TEXT}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return {**base, "object": "chat.completion", "choices": [choice], "usage": told}
    base["object"] = "chat.completion.chunk"
    words = [
        {**base, "choices": [{"index": 0, "delta": {"role": "assistant", "content": word}, "finish_reason": None}]}
        for word in WORDS
    ]
    if failing:
        return sse(*words[:3], {"error": {"message": "Overloaded", "type": "server_error", "code": "overloaded"}})
    last: dict[str, Any] = {**base, "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "stop"}]}
    return sse(*words, {**last, "usage": told} if told else last, b"[DONE]")


def cohere_v2(body: dict[str, Any], counts: Counts, failing: bool) -> Any:
    told = counts and {
        "billed_units": {"input_tokens": counts[0], "output_tokens": counts[1]},
        "tokens": {"input_tokens": 900, "output_tokens": 90},
    }
    if not body.get("stream"):
        message = {"role": "assistant", "content": [{"type": "text", "text": TEXT}]}
        return {"id": "c-1", "finish_reason": "COMPLETE", "message": message, "usage": told}
    start = {"id": "c-1", "type": "message-start", "delta": {"message": {"role": "assistant"}}}
    words = [{"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": word}}}} for word in WORDS]
    if failing:
        end = {"finish_reason": "ERROR", "usage": {}, "error": "Overloaded"}
        return sse(start, *words[:2], {"type": "message-end", "delta": end}, b"[DONE]")
    return sse(start, *words, {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": told}}, b"[DONE]")


def cohere_v1(body: dict[str, Any], counts: Counts, failing: bool) -> Any:
    meta = {"api_version": {"version": "1"}}
    if counts:
        meta["billed_units"] = {"input_tokens": counts[0], "output_tokens": counts[1]}  # type: ignore[dict-item]
    whole = {"response_id": "c-1", "generation_id": "g-1", "text": TEXT, "finish_reason": "COMPLETE", "meta": meta}
    if not body.get("stream"):
        return whole
    start = {"is_finished": False, "event_type": "stream-start", "generation_id": "g-1"}
    words = [{"is_finished": False, "event_type": "text-generation", "text": word} for word in WORDS]
    end = {"is_finished": True, "event_type": "stream-end", "finish_reason": "COMPLETE", "response": whole}
    if failing:
        words, end = words[:2], {**end, "finish_reason": "ERROR", "response": {"response_id": "c-1", "text": ""}}
    return [json.dumps(event).encode() + b"\n" for event in (start, *words, end)]


def units(_body: dict[str, Any], counts: Counts, _failing: bool) -> Any:
    meta = counts and {"billed_units": {"input_tokens": counts[0]}}
    return {"id": "e-1", "embeddings": [[0.5]], "texts": ["a"], "response_type": "embeddings_floats", "meta": meta}


def ranked(_body: dict[str, Any], _counts: Counts, _failing: bool) -> Any:
    return {
        "id": "r-1", "results": [{"index": 0, "relevance_score": 0.5}], "meta": {"billed_units": {"search_units": 2.0}},
    }  # fmt: skip


def ollama(body: dict[str, Any], counts: Counts, failing: bool) -> Any:
    told = {"prompt_eval_count": counts[0], "eval_count": counts[1]} if counts else {}
    base = {"model": body.get("model"), "created_at": "2026-01-01T00:00:00Z"}

    def part(text: str) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text}} if "messages" in body else {"response": text}

    if body.get("stream") is not True:
        return {**base, **part(TEXT), "done": True, "done_reason": "stop", **told}
    parts: list[dict[str, Any]] = [{**base, **part(word), "done": False} for word in WORDS]
    end = {**base, **part(""), "done": True, "done_reason": "stop", **told}
    whole = [*parts[:3], {"error": "Overloaded"}] if failing else [*parts, end]
    return [json.dumps(each).encode() + b"\n" for each in whole]


def embedding(body: dict[str, Any], counts: Counts, _failing: bool) -> Any:
    told = counts and {"prompt_tokens": counts[0], "total_tokens": counts[0], "completion_tokens": 0}
    data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]
    return {"id": "e-1", "object": "list", "model": body.get("model"), "data": data, "usage": told}


def pages(body: dict[str, Any], _counts: Counts, _failing: bool) -> Any:
    page = {"index": 0, "markdown": "# One", "images": [], "dimensions": None}
    return {"model": body.get("model"), "pages": [page], "usage_info": {"pages_processed": 3, "doc_size_bytes": 9}}


def heard(_body: dict[str, Any], _counts: Counts, _failing: bool) -> Any:
    usage = {
        "prompt_audio_seconds": 3, "prompt_tokens": 3, "total_tokens": 389, "completion_tokens": 11,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 375},
    }  # fmt: skip
    return {"model": "voxtral-mini-latest", "text": TEXT, "language": None, "segments": [], "usage": usage}


def conversed(_body: dict[str, Any], _counts: Counts, _failing: bool) -> Any:
    output = {"type": "message.output", "role": "assistant", "content": TEXT, "model": "mistral-medium-0001"}
    usage = {
        "prompt_tokens": 188, "completion_tokens": 55, "total_tokens": 7355, "connector_tokens": 7112,
        "connectors": {"web_search": 2},
    }  # fmt: skip
    return {"object": "conversation.response", "conversation_id": "v-1", "outputs": [output], "usage": usage}


def generated(_body: dict[str, Any], _counts: Counts, _failing: bool) -> Any:
    return [{"generated_text": TEXT, "details": None}]


def words_of(_body: dict[str, Any], _counts: Counts, _failing: bool) -> Any:
    return {"tokens": [1, 2], "token_strings": ["a", "b"], "meta": None}


KINDS = {
    "chat/completions": chat, "v2/chat": cohere_v2, "v1/chat": cohere_v1, "v1/embed": units, "v2/rerank": ranked,
    "v1/rerank": ranked, "tokenize": words_of, "api/chat": ollama, "api/generate": ollama, "embeddings": embedding,
    "ocr": pages, "audio/transcriptions": heard, "conversations": conversed, "generate": generated,
}  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: WireServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        body = json.loads(raw) if raw and "json" in self.headers.get("content-type", "") else {}
        mode, _, rest = self.path[1:].partition("/")
        path = rest.split("?")[0]
        count = self.server.seen(path, body)
        if mode == "fail2" and count <= 2:
            return self.answer(500, {"message": "try again"})
        if mode == "refuse":
            return self.answer(400, {"message": "no", "error": "no", "detail": "no"})
        if mode == "hang":
            self.server.release.wait(20)
        kind = next(kind for end, kind in KINDS.items() if path.endswith(end))
        counts: Counts = None if mode == "bare" else ("many", -1) if mode == "broken" else (TAKEN, GIVEN)
        told = kind(body, counts, mode == "error")
        if isinstance(told, list) and told and isinstance(told[0], bytes):
            return self.stream(mode, told)
        return self.answer(200, told)

    def answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def stream(self, mode: str, events: list[bytes]) -> None:
        self.send_response(200)
        lines = not events[0].startswith(b"data:")
        self.send_header("Content-Type", self.server.lines_as if lines else "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for number, event in enumerate(events):
                if number == 3 and mode == "cut":
                    self.close_connection = True
                    return
                if number == 3 and mode == "stay":
                    self.server.release.wait(20)
                self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True


class WireServer(ThreadingHTTPServer):
    """lines_as: the content type of streams of lines."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.release = threading.Event()
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.lines_as = "application/x-ndjson"
        self._count: Counter[str] = Counter()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def handle_error(self, *_: Any) -> None:
        pass  # clients that go away are what is tested

    def url(self, mode: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{mode}"

    def seen(self, path: str, body: dict[str, Any]) -> int:
        self._count[path] += 1
        self.requests.append((path, body))
        return self._count[path]


def serving() -> Iterator[WireServer]:
    server = WireServer()
    yield server
    server.release.set()
    server.shutdown()
    server.server_close()
