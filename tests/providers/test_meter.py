"""The meter under bytes of every kind: they pass unchanged, and their end is told once."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from costguard.pricing.usage import Usage
from costguard.providers.anthropic import ANTHROPIC
from costguard.providers.meter import End, Meter
from costguard.providers.openai import OPENAI
from tests.providers.server import (
    CHAT_USAGE,
    MESSAGE_USAGE,
    RESPONSE_USAGE,
    chat_events,
    message_events,
    response_events,
)

CHAT = OPENAI.route("post", "/chat/completions")
RESPONSES = OPENAI.route("post", "/responses")
MESSAGES = ANTHROPIC.route("post", "/v1/messages")
assert CHAT
assert RESPONSES
assert MESSAGES
FULL = Usage(input_tokens=100, cache_read_tokens=40, output_tokens=20, reasoning_tokens=15)


def sse(events: Iterator[tuple[str, Any]], newline: str = "\n") -> bytes:
    lines = []
    for name, data in events:
        text = data if isinstance(data, str) else json.dumps(data)
        lines += ([f"event: {name}"] if name else []) + [f"data: {text}", ""]
    return (newline.join(lines) + newline).encode()


def pass_through(
    route: Any, body: bytes, size: int, *, kind: str = "text/event-stream", encoding: str = "", hide: bool = False
) -> tuple[bytes, list[End], Meter]:
    ends: list[End] = []
    meter = Meter(route, kind, encoding, lambda how, _: ends.append(how), hide=hide)
    out = b"".join(meter.feed(body[at : at + size]) for at in range(0, len(body), size)) + meter.rest()
    meter.end("closed")
    return out, ends, meter


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("size", [1, 7, 64, 1_000_000])
@pytest.mark.parametrize(
    ("route", "body", "usage"),
    [
        (CHAT, [*chat_events({"stream_options": {"include_usage": True}}, CHAT_USAGE)], FULL),
        (RESPONSES, [*response_events({}, RESPONSE_USAGE)], FULL),
        (
            MESSAGES,
            [*message_events({}, MESSAGE_USAGE)],
            Usage(input_tokens=100, cache_read_tokens=40, output_tokens=20),
        ),
    ],
    ids=["chat", "responses", "messages"],
)
def test_usage_is_found_in_pieces_of_any_size(
    route: Any, body: list[tuple[str, Any]], usage: Usage, size: int, newline: str
) -> None:
    raw = sse(iter(body), newline)
    out, ends, meter = pass_through(route, raw, size)
    assert out == raw
    assert ends == ["ok"]
    assert meter.whole
    assert meter.answer().usage == usage


@pytest.mark.parametrize("size", [1, 50, 100_000])
@pytest.mark.parametrize("encoding", ["", "gzip", "deflate"])
def test_the_event_that_we_asked_for_is_taken_out_of_the_bytes(encoding: str, size: int) -> None:
    events = list(chat_events({"stream_options": {"include_usage": True}}, CHAT_USAGE))
    pack = {"": bytes, "gzip": gzip.compress, "deflate": zlib.compress}[encoding]
    unpack = {"": bytes, "gzip": gzip.decompress, "deflate": zlib.decompress}[encoding]
    out, ends, meter = pass_through(CHAT, pack(sse(iter(events))), size, encoding=encoding, hide=True)
    kept = [event for event in events if event[1] == "[DONE]" or event[1]["choices"]]
    assert unpack(out) == sse(iter(kept))
    assert ends == ["ok"]
    assert meter.answer().usage == FULL


def test_an_encoding_that_cannot_be_undone_passes_and_is_unknown() -> None:
    out, ends, meter = pass_through(CHAT, b"\x1b\x00\x00", 1, encoding="br", hide=True)
    assert out == b"\x1b\x00\x00"
    assert (ends, meter.told, meter.answer().usage) == (["closed"], False, None)


def test_frames_of_bedrock_are_read() -> None:
    raw = b""
    for _, event in message_events({}, MESSAGE_USAGE):
        payload = json.dumps({"bytes": base64.b64encode(json.dumps(event).encode()).decode()}).encode()
        header = b"\x0b:event-type\x07\x00\x05chunk"
        lengths = (16 + len(header) + len(payload)).to_bytes(4, "big") + len(header).to_bytes(4, "big")
        raw += lengths + b"\0" * 4 + header + payload + b"\0" * 4
    for size in (1, 33, len(raw)):
        out, ends, meter = pass_through(MESSAGES, raw, size, kind="application/vnd.amazon.eventstream")
        assert out == raw
        assert ends == ["ok"]
        assert meter.answer().usage == Usage(input_tokens=100, cache_read_tokens=40, output_tokens=20)


def test_usage_is_found_in_a_body_that_was_cut_after_it() -> None:
    body = b'{"id":"x","usage": {"prompt_tokens": 3, "completion_tokens": 2}, "choi'
    _, _, meter = pass_through(CHAT, body, 10, kind="application/json")
    assert meter.answer().usage == Usage(input_tokens=3, output_tokens=2)


def test_text_that_speaks_of_usage_is_text() -> None:
    said = {"choices": [{"index": 0, "delta": {"content": '"usage": {"prompt_tokens": 9}, "error": {"x"'}}]}
    _, ends, meter = pass_through(CHAT, sse(iter([("", said)] * 3)), 1000)
    assert ends == ["closed"]
    assert meter.answer().usage is None
    assert not meter.failed


junk = st.binary(max_size=300) | st.lists(
    st.sampled_from([
        b"data: ", b"\n", b"\n\n", b"\r\n\r\n", b'{"usage":', b"{", b"}", b'{"type":', b"[]", b'"error":', b"null",
        b'{"prompt_tokens":1}', b"[DONE]", b'"message_stop"', b"event: x\n", b'"response":',
        b'{"choices":[],"usage":{"a":1}}',
    ]), max_size=40,
).map(b"".join)  # fmt: skip


@given(junk, st.integers(1, 60), st.booleans(), st.sampled_from(["", "gzip", "deflate", "br"]), st.sampled_from(
    ["text/event-stream", "application/json", "application/vnd.amazon.eventstream", "audio/mpeg"]))  # fmt: skip
@example(b'data: {"type":[],"usage":{"prompt_tokens":1}}\n\n', 5, False, "", "text/event-stream")
def test_no_bytes_make_the_meter_fail_and_all_pass(
    body: bytes, size: int, hide: bool, encoding: str, kind: str
) -> None:
    for route in (CHAT, RESPONSES, MESSAGES):
        out, ends, meter = pass_through(route, body, size, kind=kind, encoding=encoding, hide=hide)
        if not hide:
            assert out == body
        assert len(ends) == 1
        usage = meter.answer().usage
        assert usage is None or usage.buckets
