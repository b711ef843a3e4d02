"""A provider on loopback that speaks Bedrock's runtime API; the modes are those of wires.py."""

from __future__ import annotations

import json
import struct
import zlib
from base64 import b64encode
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from tests.providers.wires import GIVEN, TAKEN, TEXT, WORDS, Handler, WireServer


def frame(kind: str, payload: Any, message: str = "event") -> bytes:
    """One message of an AWS event stream."""
    named = {f":{message}-type" if message == "event" else ":exception-type": kind, ":message-type": message}
    headers = b"".join(
        struct.pack(">B", len(name)) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for name, value in {**named, ":content-type": "application/json"}.items()
    )
    body = json.dumps(payload).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(body), len(headers))
    whole = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + body
    return whole + struct.pack(">I", zlib.crc32(whole))


def chunk(said: Any) -> bytes:
    return frame("chunk", {"bytes": b64encode(json.dumps(said).encode()).decode()})


class BedrockHandler(Handler):
    told: tuple[tuple[str, str], ...] = ()

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        body = json.loads(raw) if raw else {}
        mode, _, rest = self.path[1:].partition("/")
        model, _, operation = rest.removeprefix("model/").rpartition("/")
        count = self.server.seen(rest, {**body, "model": unquote(model)})
        if mode == "fail2" and count <= 2:
            return self.answer(500, {"message": "try again"})
        if mode == "refuse":
            return self.answer(400, {"message": "no", "__type": "ValidationException"})
        if mode == "hang":
            self.server.release.wait(20)
        usage: Any = {"inputTokens": TAKEN, "outputTokens": GIVEN, "totalTokens": TAKEN + GIVEN}
        if mode in ("bare", "broken"):
            usage = {"inputTokens": "many", "outputTokens": -1} if mode == "broken" else None
        if operation == "count-tokens":
            return self.answer(200, {"inputTokens": 7})
        if operation == "converse":
            message = {"role": "assistant", "content": [{"text": TEXT}]}
            return self.answer(200, {"output": {"message": message}, "stopReason": "end_turn", "usage": usage})
        if operation == "converse-stream":
            return self.stream(mode, _converse(usage, failing=mode == "error"))
        if operation == "invoke-with-response-stream":
            return self.stream(mode, _invoked(unquote(model)))
        self.told = (("x-amzn-bedrock-input-token-count", "100"), ("x-amzn-bedrock-output-token-count", "20"))
        return self.answer(200, _invoke(unquote(model)))

    def end_headers(self) -> None:
        for name, value in self.told:
            self.send_header(name, value)
        super().end_headers()


def _converse(usage: Any, *, failing: bool) -> list[bytes]:
    words = [frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": word}}) for word in WORDS]
    if failing:
        return [*words[:3], frame("modelStreamErrorException", {"message": "Overloaded"}, "exception")]
    last = frame("metadata", {"usage": usage, "metrics": {"latencyMs": 1}})
    return [*words, frame("messageStop", {"stopReason": "end_turn"}), last]


def _invoke(model: str) -> Any:
    if "embed" in model:
        return {"embedding": [0.5], "inputTextTokenCount": TAKEN}
    if "canvas" in model:
        return {"images": ["aGk=", "aGk="]}
    usage = {
        "input_tokens": TAKEN, "output_tokens": GIVEN, "cache_creation_input_tokens": 30,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 30},
    }  # fmt: skip
    return {"id": "m-1", "model": "claude-1", "content": [{"type": "text", "text": TEXT}], "usage": usage}


def _invoked(model: str) -> list[bytes]:
    metrics = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": TAKEN, "outputTokenCount": GIVEN}}
    if "anthropic" not in model:
        return [*(chunk({"generation": word}) for word in WORDS), chunk({"generation": "", **metrics})]
    start = {"id": "m-1", "model": "claude-1", "usage": {"input_tokens": TAKEN, "output_tokens": 1}}
    words = [{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": w}} for w in WORDS]
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": GIVEN}}
    said = [{"type": "message_start", "message": start}, *words, end, {"type": "message_stop", **metrics}]
    return [chunk(each) for each in said]


def bedrock_serving() -> Iterator[WireServer]:
    server = WireServer()
    server.RequestHandlerClass = BedrockHandler
    server.lines_as = "application/vnd.amazon.eventstream"
    yield server
    server.release.set()
    server.shutdown()
    server.server_close()
