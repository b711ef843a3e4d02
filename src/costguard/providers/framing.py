"""How events stand in the bytes of a body: server-sent events, and the frames of AWS event streams."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from typing import Any

BOUNDARY = re.compile(rb"\r\n\r\n|\n\n|\r\r")
USAGE = re.compile(rb'"usage"\s*:\s*\{')
LONGEST_FRAME = 32 * 1024 * 1024


def cut(block: bytes) -> int:
    """Where the incomplete event at the end of a block begins, 0 if no event is complete."""
    at = _after(block, b"\n\n")
    if b"\r" in block:
        at = max(at, _after(block, b"\r\n\r\n"), _after(block, b"\r\r"))
    return at


def _after(block: bytes, boundary: bytes) -> int:
    at = block.rfind(boundary)
    return at + len(boundary) if at >= 0 else 0


def data_of(event: bytes) -> bytes:
    """The data of one server-sent event (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""
    found = [line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:")]
    return found[0] if len(found) == 1 else b"\n".join(found)


def usage_only(event: bytes) -> bool:
    """Whether an event of a chat stream carries its usage and nothing else."""
    if b'"choices"' not in event or not USAGE.search(event):
        return False
    try:
        parsed = json.loads(data_of(event))
    except ValueError:
        return False
    return isinstance(parsed, dict) and parsed.get("choices") == [] and bool(parsed.get("usage"))


def frames(block: bytes) -> tuple[list[bytes], bytes]:
    """The events of the complete frames, and the bytes of the incomplete one.

    A frame is its total length, the length of its headers, a checksum, headers, payload, a checksum; Bedrock's
    payloads are `{"bytes": base64 of one event}`, Converse's the event itself (https://docs.aws.amazon.com/AmazonS3/latest/API/
    RESTSelectObjectAppendix.html has the format). Raises ValueError for bytes that are no frames.
    """
    events = []
    while len(block) >= 12:
        total, headers = int.from_bytes(block[:4], "big"), int.from_bytes(block[4:8], "big")
        if total < 16 + headers or total > LONGEST_FRAME:
            raise ValueError(f"{total} is no length of a frame")
        if len(block) < total:
            break
        content = block[12 + headers : total - 4]
        payload = json.loads(content or b"{}")
        if isinstance(payload, dict) and payload:
            packed = payload.get("bytes")
            events.append(b64decode(packed) if isinstance(packed, str) else content)
        block = block[total:]
    return events, block


def member(body: bytes, name: bytes) -> dict[str, Any] | None:
    """The last member of that (quoted) name in JSON that may be incomplete, as an object of its own."""
    at = body.rfind(name)
    if at < 0:
        return None
    rest = body[at + len(name) :].decode("utf-8", "replace").lstrip(" \r\n\t:")
    try:
        return {name.decode().strip('"'): json.JSONDecoder().raw_decode(rest)[0]}
    except ValueError:
        return None


def kind_of(content_type: str) -> str:
    """How a body of this type is read: "events", "frames" (AWS), "json" or "other"."""
    for part, kind in (("event-stream", "events"), ("amazon.eventstream", "frames"), ("json", "json")):
        if part in content_type:
            return kind
    return "other"


def holds(block: bytes, name: bytes, pattern: re.Pattern[bytes]) -> bool:
    """Whether `pattern`, which begins with `name`, is in the block: quicker than to search for it."""
    at = block.find(name)
    while at >= 0:
        if pattern.match(block, at):
            return True
        at = block.find(name, at + len(name))
    return False
