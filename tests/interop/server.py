"""A provider on loopback that speaks both wire protocols, answers tools and schemas, and counts what it is asked.

Every answer has the same usage, so a ledger that has another one read it wrongly.
"""

from __future__ import annotations

import base64
import json
import struct
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]

INPUT, CACHE_READ, OUTPUT, REASONING = 1000, 400, 200, 50
"""Of every answer, totals: the cached input is part of the input, the reasoning part of the output."""
EMBEDDED = 12
GEMINI_MODEL = "gemini-2.5-flash"
FACTS = {"city": "Paris", "population": 2_100_000}
WORDS = ["Paris", " has", " two", " million", " people."]

CHAT_USAGE = {
    "prompt_tokens": INPUT,
    "completion_tokens": OUTPUT,
    "total_tokens": INPUT + OUTPUT,
    "prompt_tokens_details": {"cached_tokens": CACHE_READ},
    "completion_tokens_details": {"reasoning_tokens": REASONING},
}
RESPONSE_USAGE = {
    "input_tokens": INPUT,
    "input_tokens_details": {"cached_tokens": CACHE_READ, "cache_write_tokens": 0},
    "output_tokens": OUTPUT,
    "output_tokens_details": {"reasoning_tokens": REASONING},
    "total_tokens": INPUT + OUTPUT,
}
# Anthropic's input_tokens leave the cached ones out.
MESSAGE_USAGE = {
    "input_tokens": INPUT - CACHE_READ,
    "cache_read_input_tokens": CACHE_READ,
    "cache_creation_input_tokens": 0,
    "output_tokens": OUTPUT,
}


def _text(schema_wanted: object) -> list[str]:
    return [json.dumps(FACTS)] if schema_wanted else WORDS


def _tool(body: Body) -> str | None:
    """The tool to call: the first one on offer, unless its result is already there."""
    tools = body.get("tools") or []
    if not tools or "tool_result" in (said := json.dumps(body.get("messages", ""))) or '"role": "tool"' in said:
        return None
    return str(tools[0].get("name") or tools[0]["function"]["name"])


def chat(body: Body) -> Body:
    tool = _tool(body)
    message: Body = {"role": "assistant", "content": "".join(_text(body.get("response_format"))), "refusal": None}
    if tool:
        function = {"name": tool, "arguments": json.dumps(FACTS)}
        message |= {"content": None, "tool_calls": [{"id": "call_1", "type": "function", "function": function}]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if tool else "stop", "logprobs": None}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1_770_000_000, "model": body["model"]}
    return {**head, "choices": [choice], "usage": CHAT_USAGE}


def chat_events(body: Body) -> Iterator[Body | str]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_770_000_000, "model": body["model"]}

    def chunk(delta: Body, finish: str | None = None) -> Body:
        return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}]}

    tool = _tool(body)
    if tool:
        function = {"name": tool, "arguments": json.dumps(FACTS)}
        yield chunk({"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]})
    else:
        for word in _text(body.get("response_format")):
            yield chunk({"role": "assistant", "content": word})
    yield chunk({}, "tool_calls" if tool else "stop")
    if (body.get("stream_options") or {}).get("include_usage"):
        yield {**head, "choices": [], "usage": CHAT_USAGE}
    yield "[DONE]"


def response(body: Body, status: str = "completed") -> Body:
    tool = _tool(body)
    text = "".join(_text((body.get("text") or {}).get("format", {}).get("schema")))
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    item: Body = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    if tool:
        item = {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": tool, "status": "completed"}
        item["arguments"] = json.dumps(FACTS)
    done = status == "completed"
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_770_000_000,
        "status": status,
        "model": body["model"],
        "output": [item] if done else [],
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "temperature": 1.0,
        "top_p": 1.0,
        "usage": RESPONSE_USAGE if done else None,
    }


def response_events(body: Body) -> Iterator[Body]:
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    events: list[Body] = [
        {"type": "response.created", "response": response(body, "in_progress")},
        {"type": "response.output_item.added", "output_index": 0, "item": message},
        {"type": "response.content_part.added", **at, "part": part},
        *({"type": "response.output_text.delta", **at, "delta": word, "logprobs": []} for word in WORDS),
        {"type": "response.output_text.done", **at, "text": "".join(WORDS), "logprobs": []},
        {"type": "response.content_part.done", **at, "part": {**part, "text": "".join(WORDS)}},
        {"type": "response.output_item.done", "output_index": 0, "item": response(body)["output"][0]},
        {"type": "response.completed", "response": response(body)},
    ]
    for number, event in enumerate(events):
        yield {**event, "sequence_number": number}


def embeddings(body: Body) -> Body:
    texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
    vector: Any = [0.5, 0.25]
    if body.get("encoding_format") == "base64":
        vector = base64.b64encode(struct.pack("<2f", *vector)).decode()
    data = [{"object": "embedding", "index": index, "embedding": vector} for index in range(len(texts))]
    usage = {"prompt_tokens": EMBEDDED, "total_tokens": EMBEDDED}
    return {"object": "list", "model": body["model"], "data": data, "usage": usage}


def message(body: Body) -> Body:
    tool = _tool(body)
    block: Body = {"type": "text", "text": "".join(_text(body.get("output_config")))}
    if tool:
        block = {"type": "tool_use", "id": "toolu_1", "name": tool, "input": FACTS}
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [block],
        "stop_reason": "tool_use" if tool else "end_turn",
        "stop_sequence": None,
        "usage": MESSAGE_USAGE,
    }


def message_events(body: Body) -> Iterator[Body]:
    tool = _tool(body)
    whole = message(body)
    block = {**whole["content"][0], **({"input": {}} if tool else {"text": ""})}
    begun = {**whole, "content": [], "stop_reason": None, "usage": {**MESSAGE_USAGE, "output_tokens": 1}}
    yield {"type": "message_start", "message": begun}
    yield {"type": "content_block_start", "index": 0, "content_block": block}
    if tool:
        pieces: list[Body] = [{"type": "input_json_delta", "partial_json": json.dumps(FACTS)}]
    else:
        pieces = [{"type": "text_delta", "text": word} for word in WORDS]
    for piece in pieces:
        yield {"type": "content_block_delta", "index": 0, "delta": piece}
    yield {"type": "content_block_stop", "index": 0}
    stop = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": stop, "usage": MESSAGE_USAGE}
    yield {"type": "message_stop"}


def gemini(_body: Body) -> Body:
    # The cached input is part of the prompt, the thoughts are not part of the candidates.
    usage = {
        "promptTokenCount": INPUT,
        "cachedContentTokenCount": CACHE_READ,
        "candidatesTokenCount": OUTPUT - REASONING,
        "thoughtsTokenCount": REASONING,
        "totalTokenCount": INPUT + OUTPUT,
    }
    return _gemini("".join(WORDS), usage, "STOP")


def _gemini(text: str, usage: Body, finish: str | None = None) -> Body:
    content = {"role": "model", "parts": [{"text": text}]}
    candidate = {"index": 0, "content": content, **({"finishReason": finish} if finish else {})}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": GEMINI_MODEL, "responseId": "gemini_1"}


def gemini_events(body: Body) -> Iterator[Body]:
    for word in WORDS[:-1]:
        yield _gemini(word, {"promptTokenCount": INPUT, "totalTokenCount": INPUT})
    yield _gemini(WORDS[-1], gemini(body)["usageMetadata"], "STOP")


ANSWERS = {
    "/v1/chat/completions": (chat, chat_events),
    "/v1/responses": (response, response_events),
    "/v1/messages": (message, message_events),
    "/v1/embeddings": (embeddings, None),
    f"/v1beta/models/{GEMINI_MODEL}:generateContent": (gemini, None),
    f"/v1beta/models/{GEMINI_MODEL}:streamGenerateContent": (gemini, gemini_events),
}


class Server:
    """A context manager.

    asked:  the path and the body of each HTTP request, in order
    gate:   the third event of a stream and those after it wait for it
    fails:  so many of the next requests are answered with status 500, and are not in `asked`
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, Body]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.fails = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                path = self.path.partition("?")[0]
                if path.startswith("/deaf"):
                    self.close_connection = True
                    return
                if server.fails:
                    server.fails -= 1
                    self._send("application/json", b'{"error": {"message": "try again"}}', status=500)
                    return
                server.asked.append((path, body))
                whole, events = ANSWERS[path]
                if (body.get("stream") or "streamGenerate" in path) and events is not None:
                    self._stream(events(body))
                else:
                    self._send("application/json", json.dumps(whole(body)).encode())

            def _send(self, kind: str, data: bytes, status: int = 200) -> None:
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def _stream(self, events: Iterator[Body | str]) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                try:
                    for number, event in enumerate(events):
                        if number == 2:
                            server.gate.wait(10)
                        data = _event(event)
                        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
                    self.wfile.write(b"0\r\n\r\n")
                except ConnectionError:
                    self.close_connection = True  # the client left: its right

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                if not isinstance(sys.exception(), ConnectionError):  # a kept connection that the client dropped
                    super().handle_error(request, client_address)

        self._http = Quiet(("127.0.0.1", 0), Handler)
        self.port = self._http.server_port
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Server:
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()


def _event(event: Body | str) -> bytes:
    if isinstance(event, str):
        return f"data: {event}\n\n".encode()
    name = f"event: {event['type']}\n" if "type" in event else ""
    return f"{name}data: {json.dumps(event)}\n\n".encode()
