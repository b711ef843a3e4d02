"""Estimates: near the truth for text, bounded for media, and harmless whatever they are given."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from costguard.pricing.usage import Usage
from costguard.providers import estimate


def chat(content: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": content}]}


def test_text_is_a_quarter_of_its_bytes_with_a_margin_and_four_a_message() -> None:
    assert estimate.input_tokens(chat("x" * 400)) == 130 + 4
    assert estimate.input_tokens(chat("漢" * 400)) == 390 + 4


def test_parts_count_like_plain_text() -> None:
    parts = estimate.input_tokens(chat([{"type": "text", "text": "x" * 400}]))
    assert 130 <= parts <= 150


def test_media_have_an_allowance_and_not_the_length_of_their_base64() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 1_000_000}}
    source = {"type": "base64", "media_type": "image/png", "data": "A" * 1_000_000}
    audio = {"type": "input_audio", "input_audio": {"data": "A" * 1_000_000, "format": "wav"}}
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "A" * 1_000_000}}
    for part, allowance in (
        (image, estimate.IMAGE_TOKENS),
        ({"type": "image", "source": source}, estimate.IMAGE_TOKENS),
        (audio, estimate.AUDIO_TOKENS),
        (pdf, estimate.FILE_TOKENS),
    ):
        assert allowance <= estimate.input_tokens(chat([part])) <= allowance + 10


def test_a_document_of_plain_text_counts_as_text() -> None:
    part = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x" * 40_000}}
    assert estimate.input_tokens(chat([part])) > 13_000


def test_tools_and_instructions_are_input() -> None:
    tool = {"type": "function", "function": {"name": "search", "description": "x" * 4_000, "parameters": {}}}
    assert estimate.input_tokens({"model": "m", "input": "hi", "tools": [tool]}) > 1_300
    assert estimate.input_tokens({"model": "m", "input": "hi", "instructions": "x" * 4_000}) > 1_300


def test_tokens_given_as_numbers_are_counted() -> None:
    assert estimate.input_tokens({"model": "m", "input": [1, 2, 3]}) == 3
    assert estimate.input_tokens({"model": "m", "input": [[1, 2, 3], [4, 5]]}) == 5 + 2 * 4


def test_a_one_shot_iterator_is_left_to_the_sdk() -> None:
    messages = iter([{"role": "user", "content": "hi"}])
    estimate.input_tokens({"model": "m", "messages": messages})
    assert next(messages)


def test_small_events_are_tokens_and_large_ones_are_text() -> None:
    assert estimate.output_tokens(476, deltas=100) == 100
    assert estimate.output_tokens(4_000, deltas=10) == 1_000


def test_a_long_stream_is_counted_in_bounded_memory() -> None:
    deltas = estimate.Deltas(estimate.delta_pattern("content"))
    event = b'data: {"choices":[{"delta":{"content":" w\\u00f6rd"}}]}\n\n'
    for _ in range(20_000):
        deltas.add(event)
        assert deltas._held <= estimate.Deltas.KEPT + len(event)
    assert deltas.tokens() == 20_000
    assert deltas.size == 20_000 * 6


def test_speech_is_billed_by_the_character_or_by_the_second() -> None:
    assert estimate.speech_usage({"model": "tts-1-hd", "input": "x" * 150}, None) == Usage(characters=150)
    spoken = estimate.speech_usage({"model": "gpt-4o-mini-tts", "input": "x" * 150}, None)
    assert spoken.audio_output_tokens == 210


def test_a_transcript_says_how_long_it_took_or_is_estimated() -> None:
    assert estimate.transcript_usage({}, {"text": "hi", "duration": 8.47}) == Usage(seconds=9)
    assert estimate.transcript_usage({}, "x" * 120) == Usage(seconds=11)
    assert estimate.transcript_usage({}, None) == Usage(seconds=60)


def test_pictures_are_counted() -> None:
    assert estimate.image_usage({"n": 3}, {"data": [{}, {}]}) == Usage(images=2)
    assert estimate.image_usage({"n": 3}, None) == Usage(images=3)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.builds(object),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5) | st.sampled_from(
        ["messages", "content", "type", "text", "input", "source", "data"]), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["messages", "input", "model", "tools", "n", "system"]), values), values)
def test_no_body_makes_an_estimate_fail(body: dict[str, Any], answer: Any) -> None:
    assert estimate.input_tokens(body) >= 0
    assert estimate.text_of(answer) >= 0
    for guess in (estimate.speech_usage, estimate.transcript_usage, estimate.image_usage):
        assert isinstance(guess(body, answer), Usage)
