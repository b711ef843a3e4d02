"""Streams of lines are read alike however they are cut, compressed or broken."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costguard.pricing.usage import Usage
from costguard.providers.cohere import COHERE
from costguard.providers.lines import LineMeter
from costguard.providers.meter import End, Meter
from costguard.providers.usage_cohere import cohere_answer, cohere_event

ROUTE = COHERE.route("post", "/v1/chat")
WORDS = ("One", " two", " thr\u00e9e")
META = {"billed_units": {"input_tokens": 7, "output_tokens": 3}}
EVENTS: list[dict[str, Any]] = [
    {"is_finished": False, "event_type": "stream-start", "generation_id": "g-1"},
    *({"is_finished": False, "event_type": "text-generation", "text": word} for word in WORDS),
    {"is_finished": True, "event_type": "stream-end", "response": {"response_id": "r-1", "text": "x", "meta": META}},
]
BODY = b"".join(json.dumps(event, ensure_ascii=False).encode() + b"\n" for event in EVENTS)


def read(chunks: list[bytes], encoding: str = "") -> tuple[list[End], Meter]:
    ends: list[End] = []
    assert ROUTE is not None
    meter = LineMeter(ROUTE, "application/stream+json", encoding, lambda how, _: ends.append(how), hide=False)
    feed = meter.feeder()
    assert b"".join(feed(chunk) for chunk in chunks) + meter.rest() == b"".join(chunks)
    meter.end("ok")
    return ends, meter


def pieces(body: bytes, size: int) -> list[bytes]:
    return [body[at : at + size] for at in range(0, len(body), size)]


@pytest.mark.parametrize("size", [1, 7, 37, 100_000])
@pytest.mark.parametrize(
    "body", [BODY, BODY.rstrip(), BODY.replace(b"\n", b"\r\n"), BODY.replace(b'{"is', b'data: {"is')]
)
def test_a_stream_is_read_alike_however_it_is_cut(body: bytes, size: int) -> None:
    ends, meter = read(pieces(body, size))
    assert ends == ["ok"]
    assert (meter.answer().usage, meter.answer().response_id) == (Usage(input_tokens=7, output_tokens=3), "r-1")


def test_a_compressed_stream_is_read_too() -> None:
    _, meter = read(pieces(gzip.compress(BODY), 11), "gzip")
    assert meter.answer().usage == Usage(input_tokens=7, output_tokens=3)


def test_what_cannot_be_unpacked_passes_unread() -> None:
    _, meter = read([b"not gzip at all"], "gzip")
    assert (meter.answer().usage, meter.told) == (None, False)


def test_a_stream_that_breaks_off_is_estimated_by_its_text() -> None:
    _, meter = read([BODY[: BODY.index(b'"is_finished": true') - 1]])
    assert (meter.answer().usage, meter.deltas.tokens()) == (None, 3)


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_bytes_that_mean_nothing_pass_unharmed(chunks: list[bytes]) -> None:
    ends, _ = read([*chunks, b"\n"])
    assert len(ends) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["type", "event_type", "delta", "response", "usage", "meta", "billed_units", "input_tokens",
                         "error", "finish_reason", "id", "tokens"]), inner, max_size=5),
    max_leaves=12,
)  # fmt: skip


@given(
    st.dictionaries(st.sampled_from(["type", "event_type", "delta", "response", "usage", "meta", "error"]), JSON),
    st.sampled_from(["message-end", "stream-end", "message-start", None, 7]),
)
def test_events_that_are_malformed_are_never_an_error(event: dict[str, Any], kind: Any) -> None:
    said = cohere_event({**event, "type": kind})
    cohere_answer(said)
    usage = cohere_answer(event).usage
    assert usage is None or all(type(count) is int and count > 0 for count in usage.buckets.values())
