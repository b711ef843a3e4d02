"""A strict hold covers what the call asks for at a higher price than the usual."""

from __future__ import annotations

from typing import Any

import anthropic
import httpx2
import openai
import pytest

from costguard import Guard
from costguard.providers.knobs import dearer

MESSAGES: list[Any] = [{"role": "user", "content": "hi"}]


def chat(http: httpx2.Client, host: str = "api.openai.com", **asked: Any) -> None:
    client = openai.OpenAI(base_url=f"https://{host}/v1", api_key="x", http_client=http)
    client.chat.completions.create(model="gpt-5.4", messages=MESSAGES, max_completion_tokens=1000, **asked)


def message(http: httpx2.Client, **asked: Any) -> None:
    client = anthropic.Anthropic(api_key="x", http_client=http)
    client.messages.create(model="claude-opus-4-6", messages=MESSAGES, max_tokens=1000, extra_body=asked)


@pytest.mark.parametrize(
    ("ask", "asked", "told"),
    [
        (chat, {"service_tier": "priority"}, {"service_tier": "priority"}),
        (chat, {"host": "eu.api.openai.com"}, {}),
        (message, {"inference_geo": "us"}, {"inference_geo": "us"}),
    ],
)
def test_a_strict_hold_covers_the_tier_and_the_place_that_are_asked_for(ask: Any, asked: Any, told: Any) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("messages"):
            usage = {"input_tokens": 1, "output_tokens": 1000, **told}
            body = {"id": "m", "type": "message", "role": "assistant", "model": "claude-opus-4-6", "content": []}
            return httpx2.Response(200, json={**body, "stop_reason": "max_tokens", "usage": usage})
        usage = {"prompt_tokens": 1, "completion_tokens": 1000, "total_tokens": 1001}
        body = {"id": "c", "object": "chat.completion", "model": "gpt-5.4", "choices": [], **told}
        return httpx2.Response(200, json={**body, "usage": usage})

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    with Guard("memory://", budgets=["$5/day"], holds="strict") as guard, http:
        guard.instrument()
        ask(http, **asked)
        guard.uninstrument()
        (entry,) = guard.entries()
        assert entry.rates is not None
        assert entry.rates.context != ()
        assert entry.cost is not None
        assert 0 < entry.cost <= entry.held


def test_what_is_cheaper_or_unreadable_is_held_for_at_the_usual_price() -> None:
    assert dearer({"service_tier": "flex", "speed": "standard", "inference_geo": None}) == ()
    assert dearer({"service_tier": ["priority"], "speed": 3, "inference_geo": {}}) == ()
    assert dearer({"serviceTier": "PRIORITY"}) == (("service_tier", "priority"),)
