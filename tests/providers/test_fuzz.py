"""Whatever a provider answers, the call of the app is not hurt, and what was paid for is never recorded as nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import anthropic
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from costguard.call import Call
from costguard.events import Outcome
from costguard.pricing.usage import BUCKETS
from costguard.providers.flight import Flight
from costguard.providers.registry import ROWS
from costguard.providers.rows import Provider, Route
from tests.providers.calling import watched
from tests.providers.recording import Recording

NAMES = (
    "usage", "prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "total_tokens", "cached_tokens",
    "prompt_tokens_details", "completion_tokens_details", "input_tokens_details", "cache_read_input_tokens",
    "cache_creation_input_tokens", "cache_creation", "ephemeral_1h_input_tokens", "reasoning_tokens", "audio_tokens",
    "image_tokens", "server_tool_use", "web_search_requests", "service_tier", "iterations", "type", "model", "id",
    "cost", "cost_in_usd_ticks", "is_byok", "cost_details", "status", "output", "choices", "delta", "message",
    "response", "error", "object", "usageMetadata", "usage_metadata", "promptTokenCount", "candidatesTokenCount",
    "meta", "billed_units", "tokens", "search_units", "prompt_eval_count", "eval_count", "inputTokens",
    "outputTokens", "seconds", "pages_processed", "usage_info", "tool_usage", "output_file_id", "x_groq", "details",
    "num_cached_tokens", "prompt_audio_seconds", "tools", "result", "custom_id", "data", "n",
)  # fmt: skip
ODD = st.sampled_from([
    0, 1, 7, 100, -1, 12.0, 1.5, 1e308, 1 << 63, 1 << 70, True, False, None, "", "12", "NaN", "text", [], {},
    float("inf"), float("nan"), "completed", "batch", "failed", "background", "message_delta", "openai/gpt-4o",
])  # fmt: skip
JSON = st.recursive(
    ODD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=25,
)
OBJECT = st.dictionaries(st.sampled_from(NAMES), JSON, max_size=8)

ROUTES = [
    pytest.param(row, route, id=f"{row.package}-{route.operation}-{number}")
    for row in ROWS
    for number, route in enumerate(row.routes)
]


def sound(outcome: Outcome) -> None:
    usage = outcome.usage
    for name, count in () if usage is None else usage.buckets.items():
        assert name in BUCKETS
        assert type(count) is int
        assert count > 0
    assert outcome.reported is None or (type(outcome.reported) is int and outcome.reported >= 0)
    if outcome.billable and outcome.status == "ok" and not outcome.estimated:
        assert usage is not None
        assert usage.buckets or outcome.reported is not None, "a paid call that cost nothing"
    for model, more in outcome.extra:
        assert isinstance(model, str)
        assert more.buckets


def flown(row: Provider, route: Route) -> tuple[Flight, Recording]:
    told = Recording()
    call = Call(row.name, "model", route.operation, 100)
    call.attempts = 1
    body = {"model": "model", "input": "some text", "batch": "batch_1"}
    return Flight(told, route, call, body, False), told


@pytest.mark.parametrize(("row", "route"), ROUTES)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(content=OBJECT | JSON)
def test_every_reader_takes_any_answer(row: Provider, route: Route, content: Any) -> None:
    answer = route.read(json.dumps(content).encode() if route.binary else content)
    sound(answer) if answer.usage is not None else None
    flight, told = flown(row, route)
    flight.read(content)
    if not route.poll:
        assert len(told.settled) == 1
    for _, outcome in told.settled:
        sound(outcome)


@pytest.mark.parametrize(("row", "route"), ROUTES)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=st.lists(OBJECT | st.text(max_size=20), max_size=4), kind=st.sampled_from(["event-stream", "json", "x"]))
def test_every_stream_is_settled_once_whatever_is_in_it(
    row: Provider, route: Route, events: list[Any], kind: str
) -> None:
    flight, told = flown(row, route)
    meter = flight.meter(f"text/{kind}")
    for event in events:
        text = event if isinstance(event, str) else json.dumps(event)
        sent = f"data: {text}\n\n".encode()
        assert meter.feed(sent) == sent
    meter.rest()
    meter.end("ok")
    meter.end("closed")
    assert len(told.settled) == (0 if route.poll else 1) or (route.poll and len(told.settled) == 1)
    for _, outcome in told.settled:
        sound(outcome)


class Mirror(ThreadingHTTPServer):
    """Answers every request with `body`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.body = b""
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        assert isinstance(self.server, Mirror)
        asked = self.rfile.read(int(self.headers["content-length"]))
        kind = "text/event-stream" if b'"stream":true' in asked.replace(b" ", b"") else "application/json"
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def mirror() -> Iterator[Mirror]:
    server = Mirror()
    yield server
    server.shutdown()
    server.server_close()


def attempt(client: Any, streamed: bool) -> tuple[str, str]:
    """The type of what the app gets, or of what is raised, and what it reads."""
    try:
        if isinstance(client, openai.OpenAI):
            made = client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "hi"}], stream=streamed
            )
        else:
            made = client.messages.create(
                model="m", max_tokens=5, messages=[{"role": "user", "content": "hi"}], stream=streamed
            )
        return type(made).__name__, repr([repr(each) for each in made] if streamed else made)
    except Exception as error:
        return type(error).__name__, ""


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("package", [openai.OpenAI, anthropic.Anthropic])
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(answer=st.lists(OBJECT, min_size=1, max_size=3) | st.binary(max_size=40), torn=st.booleans())
def test_an_app_gets_from_an_sdk_what_it_would_get_without_us(
    mirror: Mirror, package: Any, streamed: bool, answer: Any, torn: bool
) -> None:
    client = package(base_url=mirror.url, api_key="none", max_retries=0)
    if isinstance(answer, bytes):
        mirror.body = answer
    elif streamed:
        mirror.body = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in answer)
    else:
        mirror.body = json.dumps(answer[0]).encode()
    if torn:
        mirror.body = mirror.body[: len(mirror.body) // 2]
    without = attempt(client, streamed)
    with watched() as told:
        within = attempt(client, streamed)
    client.close()
    assert within == without
    assert len(told.settled) == 1
    sound(told.settled[0][1])
