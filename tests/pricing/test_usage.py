"""Usage in disjoint buckets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costguard.errors import ConfigError
from costguard.pricing.usage import BUCKETS, Usage

usages = st.dictionaries(st.sampled_from(BUCKETS), st.integers(0, 10**9)).map(Usage.of)


def test_totals_include_their_parts_and_buckets_do_not_overlap() -> None:
    usage = Usage(
        input_tokens=12_000,
        cache_read_tokens=9_000,
        cache_write_tokens=1_000,
        cache_write_1h_tokens=400,
        audio_input_tokens=100,
        output_tokens=2_500,
        reasoning_tokens=2_100,
        web_searches=2,
    )
    assert usage.buckets == {
        "input": 1_900,
        "cache_read": 9_000,
        "cache_write_5m": 600,
        "cache_write_1h": 400,
        "input_audio": 100,
        "output": 2_500,
        "web_searches": 2,
    }
    assert (usage.input_tokens, usage.output_tokens, usage.reasoning_tokens) == (12_000, 2_500, 2_100)
    assert (usage.cache_read_tokens, usage.cache_write_tokens, usage.audio_input_tokens) == (9_000, 1_000, 100)


@pytest.mark.parametrize(
    "wrong",
    [
        {"input_tokens": 10, "cache_read_tokens": 11},
        {"output_tokens": 10, "audio_output_tokens": 11},
        {"input_tokens": 10, "cache_write_tokens": 1, "cache_write_1h_tokens": 2},
        {"input_tokens": -1},
        {"web_searches": -1},
        {"coffee": 1},
        {"seconds": 1.5},
    ],
)
def test_a_usage_that_cannot_be_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        Usage(**wrong)


@given(usages)
def test_zero_counts_are_left_out_and_totals_are_sums(usage: Usage) -> None:
    assert all(usage.buckets.values())
    assert usage.input_tokens + usage.output_tokens <= sum(usage.buckets.values())
    assert usage == Usage.of(usage.buckets)
    assert hash(usage) == hash(Usage.of(dict(reversed(usage.buckets.items()))))
