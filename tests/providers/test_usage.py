"""Usage objects as the providers send them, as models of the SDKs and as JSON alike."""

from __future__ import annotations

from typing import Any

import anthropic
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costguard.pricing.usage import BUCKETS, Usage
from costguard.providers.usage import openai_answer, openai_usage
from costguard.providers.usage_anthropic import anthropic_answer, anthropic_usage
from costguard.providers.usage_responses import responses_answer, video_answer
from tests.providers.server import CHAT_USAGE, MESSAGE_USAGE, RESPONSE_USAGE, chat, message, response


def test_a_model_and_its_json_are_read_alike() -> None:
    plain = chat({}, CHAT_USAGE)
    model = openai.types.chat.ChatCompletion.construct(**plain)
    assert openai_answer(model).usage == openai_answer(plain).usage == Usage(
        input_tokens=100, cache_read_tokens=40, output_tokens=20, reasoning_tokens=15
    )  # fmt: skip
    plain = message({}, MESSAGE_USAGE)
    assert anthropic_answer(anthropic.types.Message.construct(**plain)).usage == anthropic_answer(plain).usage
    plain = response({}, RESPONSE_USAGE)
    model = openai.types.responses.Response.construct(**plain)
    assert responses_answer(model).usage == responses_answer(plain).usage
    assert responses_answer(model).context == (("service_tier", "flex"),)


def test_fields_that_an_sdk_does_not_know_yet_are_read() -> None:
    usage = {**CHAT_USAGE, "prompt_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 10, "from_2030": 1}}
    model = openai.types.chat.ChatCompletion.construct(**chat({}, usage))
    found = openai_answer(model).usage
    assert found is not None
    assert (found.cache_read_tokens, found.cache_write_tokens) == (40, 10)


@pytest.mark.parametrize(
    ("raw", "buckets"),
    [
        ({"prompt_tokens": 7, "total_tokens": 7}, {"input": 7}),
        ({"prompt_tokens": 7.0, "completion_tokens": 2.0}, {"input": 7, "output": 2}),
        ({"type": "duration", "seconds": 7}, {"seconds": 7}),
        ({"type": "duration", "seconds": "7.2"}, {"seconds": 8}),
        (
            {"type": "tokens", "input_tokens": 37, "output_tokens": 4, "input_token_details": {"audio_tokens": 30}},
            {"input": 7, "input_audio": 30, "output": 4},
        ),
        (
            {
                "input_tokens": 221, "input_tokens_details": {"image_tokens": 194, "text_tokens": 27},
                "output_tokens": 415, "output_tokens_details": {"image_tokens": 272, "text_tokens": 143},
            },
            {"input": 27, "input_image": 194, "output": 143, "output_image": 272},
        ),
        # Cached tokens that only fit if some are image tokens.
        (
            {
                "prompt_tokens": 504, "completion_tokens": 91,
                "prompt_tokens_details": {"cached_tokens": 370, "image_tokens": 256},
            },
            {"cache_read": 248, "cache_read_image": 122, "input_image": 134, "output": 91},
        ),
        # Parts that contradict their total count at the full price.
        (
            {"prompt_tokens": 7, "completion_tokens": 8, "prompt_tokens_details": {"cached_tokens": 161}},
            {"input": 7, "output": 8},
        ),
        (
            {"prompt_tokens": 7, "completion_tokens": 8, "prompt_tokens_details": {"cached_tokens": -5}},
            {"input": 7, "output": 8},
        ),
        (
            {
                "prompt_tokens": 64, "completion_tokens": 30,
                "prompt_tokens_details": {
                    "cached_tokens": 20, "audio_tokens": 44, "cached_tokens_details": {"audio_tokens": 15},
                },
                "completion_tokens_details": {"audio_tokens": 25},
            },
            {"input": 15, "cache_read": 5, "input_audio": 29, "cache_read_audio": 15, "output": 5, "output_audio": 25},
        ),
    ],
)  # fmt: skip
def test_openai_usage_in_disjoint_buckets(raw: dict[str, Any], buckets: dict[str, int]) -> None:
    usage = openai_usage(raw)
    assert usage is not None
    assert usage.buckets == buckets


@pytest.mark.parametrize(
    "raw",
    [
        None, [], "12", 12, {}, {"prompt_tokens": "12", "completion_tokens": 3},
        {"prompt_tokens": -1, "completion_tokens": 3},
        {"prompt_tokens": 12, "completion_tokens": None}, {"prompt_tokens": True, "completion_tokens": 3},
        {"prompt_tokens": 12, "completion_tokens": float("nan")}, {"prompt_tokens": 10**30, "completion_tokens": 1},
        {"prompt_tokens": 0, "completion_tokens": 0}, {"completion_tokens": 3}, {"type": "duration", "seconds": -1},
    ],
)  # fmt: skip
def test_usage_that_cannot_be_read_is_unknown(raw: Any) -> None:
    assert openai_usage(raw) is None


def test_anthropic_input_is_the_sum_of_plain_read_and_written() -> None:
    usage = anthropic_usage({
        "input_tokens": 10, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 50, "output_tokens": 30,
        "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30},
        "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 9},
        "output_tokens_details": {"thinking_tokens": 12},
    })  # fmt: skip
    assert usage is not None
    assert (usage.input_tokens, usage.cache_read_tokens, usage.cache_write_tokens) == (160, 100, 50)
    assert (usage.cache_write_1h_tokens, usage.reasoning_tokens, usage.buckets["web_searches"]) == (30, 12, 2)


def test_the_remainder_of_a_breakdown_that_does_not_add_up_is_kept_for_five_minutes() -> None:
    usage = anthropic_usage({
        "input_tokens": 10, "cache_creation_input_tokens": 50, "output_tokens": 3,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 20},
    })  # fmt: skip
    assert usage is not None
    assert usage.buckets == {"input": 10, "cache_write_1h": 20, "cache_write_5m": 30, "output": 3}


def test_compactions_are_part_of_the_bill_and_the_advisor_has_a_price_of_its_own() -> None:
    step = {"type": "message", "input_tokens": 23_000, "output_tokens": 1_000}
    compaction = {"type": "compaction", "input_tokens": 180_000, "output_tokens": 3_500}
    advisor = {"type": "advisor_message", "model": "claude-opus-5", "input_tokens": 500, "output_tokens": 50}
    told = {"input_tokens": 23_000, "output_tokens": 1_000, "iterations": [compaction, step, advisor]}
    answer = anthropic_answer({"model": "claude-sonnet-5", "id": "msg_1", "usage": told})
    assert answer.usage == Usage(input_tokens=203_000, output_tokens=4_500)
    assert answer.extra == (("claude-opus-5", Usage(input_tokens=500, output_tokens=50)),)


def test_what_a_price_depends_on_is_taken_from_the_answer() -> None:
    told = {**MESSAGE_USAGE, "service_tier": "priority", "inference_geo": "us", "speed": "fast"}
    answer = anthropic_answer({"usage": told})
    assert answer.context == (("inference_geo", "us"), ("service_tier", "priority"), ("speed", "fast"))
    for tier in ("default", "auto", None, ["flex"], {}):
        assert openai_answer({"usage": CHAT_USAGE, "service_tier": tier}).context == ()


def test_tools_that_are_billed_by_the_call_are_counted() -> None:
    output = [
        {"type": "web_search_call", "action": {"type": "search"}},
        {"type": "web_search_call", "action": {"type": "open_page"}},
        {"type": "file_search_call"}, {"type": "code_interpreter_call"}, {"type": "code_interpreter_call"},
    ]  # fmt: skip
    usage = responses_answer({"usage": RESPONSE_USAGE, "output": output}).usage
    assert usage is not None
    tools = {name: usage.buckets[name] for name in ("web_searches", "file_searches", "code_executions")}
    assert tools == {"web_searches": 1, "file_searches": 1, "code_executions": 2}
    told = responses_answer(
        {"usage": RESPONSE_USAGE, "output": output, "tool_usage": {"web_search": {"num_requests": 3}}}
    )
    assert told.usage is not None
    assert told.usage.buckets["web_searches"] == 3


def test_pictures_drawn_by_a_tool_are_billed_at_the_tool_s_model() -> None:
    drawn = {"input_tokens": 50, "output_tokens": 272, "output_tokens_details": {"image_tokens": 272}}
    tools = [{"type": "image_generation", "model": "gpt-image-1.5"}]
    answer = responses_answer({"usage": RESPONSE_USAGE, "tools": tools, "tool_usage": {"image_gen": drawn}})
    assert answer.extra == (("gpt-image-1.5", Usage(input_tokens=50, output_tokens=272, image_output_tokens=272)),)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = [
    "usage", "prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "prompt_tokens_details",
    "completion_tokens_details", "input_tokens_details", "cached_tokens", "audio_tokens", "image_tokens",
    "cache_write_tokens", "reasoning_tokens", "cached_tokens_details", "cache_read_input_tokens", "cache_creation",
    "cache_creation_input_tokens", "ephemeral_1h_input_tokens", "server_tool_use", "web_search_requests", "type",
    "iterations", "model", "id", "service_tier", "status", "output", "tool_usage", "tools", "x_groq", "seconds",
]  # fmt: skip
named = st.recursive(
    json_values | st.integers(0, 300),
    lambda inner: st.dictionaries(st.sampled_from(NAMES), inner, max_size=8) | st.lists(inner, max_size=3),
    max_leaves=25,
)


@given(named)
def test_no_answer_makes_a_reader_raise_or_report_nothing_as_usage(answer: Any) -> None:
    for read in (openai_answer, responses_answer, anthropic_answer, video_answer):
        for value in (answer, {"usage": answer}):
            found = read(value)
            for usage in (found.usage, *(extra for _, extra in found.extra)):
                if usage is not None:
                    assert usage.buckets
                    assert all(name in BUCKETS and type(n) is int and n > 0 for name, n in usage.buckets.items())
                    assert 0 <= usage.reasoning_tokens <= usage.output_tokens
