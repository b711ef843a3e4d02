"""Price lists in files: four shapes, found by what is in them, and every bad line told at once."""

from __future__ import annotations

import json
import os
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from costguard import Guard
from costguard.errors import ConfigError
from costguard.pricing.book import PriceBook
from costguard.pricing.price_file import read_prices
from costguard.pricing.receipt import Receipt
from costguard.pricing.usage import Usage
from tests.pricing.lists import OURS, one_price


def ns(moment: str) -> int:
    return int(datetime.fromisoformat(moment).timestamp()) * 10**9


NOON = ns("2026-11-04T12:00Z")  # a Wednesday
MILLION = Usage.of({"input": 1_000_000, "output": 1_000_000})
SMALL = Usage.of({"input": 1_000, "output": 1_000})

LITELLM: dict[str, Any] = {
    "sample_spec": {"input_cost_per_token": 0.0, "max_tokens": "a sentence"},
    "acme-large": {
        "litellm_provider": "openai", "mode": "chat", "max_input_tokens": 400_000,
        "input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05, "cache_read_input_token_cost": 2.5e-07,
        "cache_creation_input_token_cost": 3.125e-06, "cache_creation_input_token_cost_above_1hr": 5e-06,
        "input_cost_per_token_above_200k_tokens": 5e-06, "output_cost_per_token_above_200k_tokens": 1.5e-05,
        "input_cost_per_token_flex": 1.25e-06, "output_cost_per_token_flex": 5e-06,
        "input_cost_per_token_batches": 1.25e-06, "output_cost_per_token_batches": 5e-06,
        "search_context_cost_per_query": {
            "search_context_size_low": 0.01, "search_context_size_medium": 0.02, "search_context_size_high": 0.03,
        },
        "output_cost_per_reasoning_token": 4e-05,
        "regional_processing_uplift_multiplier_eu": 1.1,
        "input_dbu_cost_per_token": 3.0,
    },
    "gemini/acme-flash": {"litellm_provider": "gemini", "input_cost_per_token": 1e-07, "output_cost_per_token": 4e-07},
    "acme-flash": {
        "litellm_provider": "vertex_ai-language-models", "input_cost_per_token": 9e-07, "output_cost_per_token": 9e-07,
    },
    "us.acme.titan-v1:0": {
        "litellm_provider": "bedrock_converse", "input_cost_per_token": 1.1e-06, "output_cost_per_token": 2e-06,
    },
    "azure/eu/acme-large": {"litellm_provider": "azure", "input_cost_per_token": 2.75e-06, "output_cost_per_token": 1},
    "deepseek/acme-night": {
        "litellm_provider": "deepseek", "input_cost_per_token": 2e-06, "output_cost_per_token": 4e-06,
        "off_peak_pricing": {
            "input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06,
            "windows": [
                {"hours_utc": ["00:00-01:00", "10:00-00:00"], "weekdays": [1, 2, 3, 4, 5]},
                {"hours_utc": "00:00-00:00", "weekdays": [6, 7]},
            ],
        },
    },
    "dashscope/acme-tiers": {
        "litellm_provider": "dashscope",
        "tiered_pricing": [
            {"range": [0, 256_000.0], "input_cost_per_token": 5e-08, "output_cost_per_token": 4e-07},
            {"range": [256_000.0, 1_000_000.0], "input_cost_per_token": 2.5e-07, "output_cost_per_token": 2e-06},
        ],
    },
    "acme-ear": {"litellm_provider": "openai", "mode": "audio_transcription", "input_cost_per_second": 0.0001},
    "acme-unknown": {"litellm_provider": "openai", "input_cost_per_token": 0.0, "output_cost_per_token": 0.0},
}  # fmt: skip

LANGFUSE: dict[str, Any] = {
    "data": [
        {
            "modelName": "acme", "matchPattern": r"(?i)^(acme/)?(acme-large)(-\d+)?$",
            "pricingTiers": [
                {
                    "name": "Standard", "isDefault": True, "conditions": [],
                    "prices": {"input": 2.5e-06, "input_cached_tokens": 2.5e-07, "output": 1e-05, "my_own_type": 7},
                },
                {
                    "name": "Large", "priority": 1,
                    "conditions": [{"usageDetailPattern": "input", "operator": "gt", "value": 200_000}],
                    "prices": {"input": 5e-06, "output": 1.5e-05},
                },
                {
                    "name": "Fast", "priority": 2,
                    "conditions": [{"key": "service_tier", "operator": "in", "values": ["fast", "priority"]}],
                    "prices": {"input": 5e-06, "output": 2e-05},
                },
            ],
        },
        {"modelName": "acme-embed", "matchPattern": "acme-embed", "totalPrice": 1e-07, "unit": "TOKENS"},
        {
            "modelName": "acme-new", "matchPattern": "^acme-large$", "startDate": "2026-12-01T00:00:00.000Z",
            "prices": {"input": {"price": 1e-06}, "output": {"price": 2e-06}},
        },
    ]
}  # fmt: skip

OPENLIT: dict[str, Any] = {
    "chat": {"acme-large": {"promptPrice": 0.0025, "completionPrice": 0.01, "cacheReadPrice": 0.00025}},
    "embeddings": {"acme-embed": 0.0001},
    "audio": {"acme-voice": 0.015},
    "images": {"acme-draw": {"standard": {"1024x1024": 0.04, "512x512": 0.02}}, "acme-sketch": {"hd": {"1x1": 0.5}}},
}


def write(folder: Path, content: bytes | dict[str, Any], name: str = "prices.json") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def receipt(
    path: Path | str, provider: str, model: str, usage: Usage = SMALL, at: int = NOON, **context: str
) -> Receipt:
    return PriceBook(path).receipt(provider, model, usage, at, tuple(sorted(context.items())))


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    return write(tmp_path, OURS, "prices.toml")


def test_our_own_shape_has_sizes_contexts_hours_and_units(ours: Path) -> None:
    assert receipt(ours, "acme", "large").cost == Decimal("0.0125")
    assert receipt(ours, "acme", "large", MILLION).cost == 20
    assert receipt(ours, "acme", "large", service_tier="flex").cost == Decimal("0.00625")
    assert receipt(ours, "acme", "large", batch="true").cost == Decimal("0.00625")
    assert receipt(ours, "acme", "large", Usage.of({"web_searches": 3}), batch="true").cost == Decimal("0.03")
    assert receipt(ours, "acme", "large", at=ns("2026-11-04T23:59Z")).cost == Decimal("0.003")
    assert receipt(ours, "acme", "large", at=ns("2026-11-05T00:29Z")).cost == Decimal("0.003")
    assert receipt(ours, "acme", "large", at=ns("2026-11-05T00:30Z")).cost == Decimal("0.0125")
    assert receipt(ours, "acme", "large", at=ns("2026-11-07T20:00Z")).cost == Decimal("0.0125")  # a Saturday
    assert receipt(ours, "acme", "large", service_tier="turbo").unpriced == ("service_tier=turbo",)
    assert receipt(ours, "acme", "large").source.startswith("prices.toml ")


def test_one_book_follows_the_hours_of_a_list(ours: Path) -> None:
    book = PriceBook(ours)
    for moment, cost in (
        ("2026-11-04T16:29Z", "0.0125"),
        ("2026-11-04T16:30Z", "0.003"),
        ("2026-11-04T16:29Z", "0.0125"),
    ):
        assert book.receipt("acme", "large", SMALL, ns(moment)).cost == Decimal(cost), moment


def test_prices_of_a_list_begin_and_end_and_the_next_list_has_the_rest(tmp_path: Path) -> None:
    content = b"""
    [[price]]
    model = "openai/gpt-4o"
    from = 2026-10-01
    until = 2026-11-01T12:00:00Z
    input = "1"
    output = "1"
    """
    book = PriceBook(write(tmp_path, content, "p.toml"))
    expected = {"2026-09-30T23:59Z": "0.0125", "2026-10-01T00:00Z": "0.002", "2026-11-01T12:00Z": "0.0125"}
    for _ in range(2):
        for moment, cost in expected.items():
            assert book.receipt("openai", "gpt-4o", SMALL, ns(moment)).cost == Decimal(cost), moment
    rates = book.rates("openai", "gpt-4o", ns("2026-09-01T00:00Z"))
    assert rates is not None
    assert rates.valid_until_ns == ns("2026-10-01T00:00Z")


def test_the_first_of_several_sources_that_has_a_model_counts(tmp_path: Path) -> None:
    first, second = write(tmp_path, one_price("2"), "a.json"), write(tmp_path, one_price("3"), "b.json")
    override = {"acme/m": {"input": "1", "output": "1"}}
    usage = Usage.of({"input": 1_000_000})
    for prices, cost in (([override, str(first)], 1), ([first, second, override], 2), ([str(second), first], 3)):
        assert PriceBook(prices).receipt("acme", "m", usage, NOON).cost == cost
    both = PriceBook([first, {"acme/other": {"input": "9"}}])
    assert both.receipt("acme", "other", usage, NOON).cost == 9
    assert both.receipt("openai", "gpt-4o", usage, NOON).cost == Decimal("2.5")


def test_a_guard_takes_a_path(ours: Path) -> None:
    with Guard("memory://", prices=str(ours)) as guard:
        assert guard.price("acme", "large", SMALL, at=datetime.fromisoformat("2026-11-04T12:00Z")).cost == Decimal(
            "0.0125"
        )


def test_json_of_the_shape_of_overrides_is_a_price_list(tmp_path: Path) -> None:
    path = write(tmp_path, {"acme/m*": {"input": 1.25, "output": "10"}})
    assert receipt(path, "acme", "m-2026-01-01").cost == Decimal("0.01125")


def test_prices_per_hour_are_exact(tmp_path: Path) -> None:
    content = b"""
    [[price]]
    model = "acme/ear"
    audio_hours = "0.04"
    input = "1"
    least = { seconds = 10 }
    """
    path = write(tmp_path, content, "p.toml")
    assert receipt(path, "acme", "ear", Usage.of({"seconds": 90})).cost == Decimal("0.001")
    assert receipt(path, "acme", "ear", Usage.of({"seconds": 1, "input": 1_000})).lines[0].count == 10
    assert receipt(path, "acme", "ear", Usage.of({"input": 1_000})).cost == Decimal("0.001")


@pytest.mark.parametrize(
    ("provider", "model", "usage", "context", "cost"),
    [
        ("openai", "acme-large", {"input": 1_000, "output": 1_000}, {}, "0.0125"),
        ("openai", "acme-large-2026-01-01", {"input": 1_000, "output": 1_000}, {}, "0.0125"),
        ("openai", "acme-large", {"input": 300_000, "output": 1_000}, {}, "1.515"),
        (
            "openai",
            "acme-large",
            {"cache_read": 1_000, "cache_write_5m": 1_000, "cache_write_1h": 1_000},
            {},
            "0.008375",
        ),
        ("openai", "acme-large", {"input": 1_000, "output": 1_000}, {"service_tier": "flex"}, "0.00625"),
        ("openai", "acme-large", {"input": 1_000, "output": 1_000}, {"batch": "true"}, "0.00625"),
        ("openai", "acme-large", {"input": 1_000}, {"inference_geo": "eu"}, "0.00275"),
        ("openai", "acme-large", {"web_searches": 2}, {}, "0.04"),
        ("openai", "acme-large", {"web_searches": 2}, {"search_context_size": "high"}, "0.06"),
        ("google", "acme-flash", {"input": 1_000}, {}, "0.0001"),
        ("vertex", "acme-flash", {"input": 1_000}, {}, "0.0001"),
        ("bedrock", "us.acme.titan-v1:0", {"input": 1_000}, {}, "0.0011"),
        ("azure", "eu/acme-large", {"input": 1_000}, {}, "0.00275"),
        ("dashscope", "acme-tiers", {"input": 256_000}, {}, "0.0128"),
        ("dashscope", "acme-tiers", {"input": 300_000}, {}, "0.075"),
        ("openai", "acme-ear", {"seconds": 90}, {}, "0.009"),
        ("litellm", "gemini/acme-flash", {"input": 1_000}, {}, "0.0001"),
    ],
)
def test_litellms_map_is_read(
    tmp_path: Path, provider: str, model: str, usage: dict[str, int], context: dict[str, str], cost: str
) -> None:
    found = receipt(write(tmp_path, LITELLM), provider, model, Usage.of(usage), **context)
    assert (found.cost, found.unpriced) == (Decimal(cost), ())


def test_litellms_map_has_reasoning_and_off_peak_prices(tmp_path: Path) -> None:
    path = write(tmp_path, LITELLM)
    reasoned = Usage.of({"output": 1_000}, reasoning_tokens=400)
    assert receipt(path, "openai", "acme-large", reasoned).cost == Decimal("0.022")
    assert receipt(path, "deepseek", "acme-night", at=ns("2026-11-04T09:59Z")).cost == Decimal("0.006")
    assert receipt(path, "deepseek", "acme-night", at=ns("2026-11-04T10:00Z")).cost == Decimal("0.003")
    assert receipt(path, "deepseek", "acme-night", at=ns("2026-11-07T05:00Z")).cost == Decimal("0.003")  # Saturday


def test_a_model_that_litellm_prices_at_zero_is_unknown_and_not_free(tmp_path: Path) -> None:
    assert receipt(write(tmp_path, LITELLM), "openai", "acme-unknown").cost is None


def test_langfuses_definitions_are_read(tmp_path: Path) -> None:
    path = write(tmp_path, LANGFUSE)
    assert receipt(path, "openai", "acme-large").cost == Decimal("0.0125")
    assert receipt(path, "anyone", "ACME-large-7", Usage.of({"input": 300_000, "output": 1_000})).cost == Decimal(
        "1.515"
    )
    assert receipt(path, "openai", "acme-large", Usage.of({"cache_read": 1_000})).cost == Decimal("0.00025")
    assert receipt(path, "openai", "acme-large", service_tier="priority").cost == Decimal("0.025")
    assert receipt(path, "openai", "my-acme-embed-3", Usage.of({"input": 1_000})).cost == Decimal("0.0001")
    assert receipt(path, "openai", "acme-huge").cost is None


def test_a_langfuse_definition_holds_from_its_start(tmp_path: Path) -> None:
    book = PriceBook(write(tmp_path, LANGFUSE))
    for moment, cost in (
        ("2026-11-30T23:59Z", "0.0125"),
        ("2026-12-01T00:00Z", "0.003"),
        ("2026-11-30T23:59Z", "0.0125"),
    ):
        assert book.receipt("openai", "acme-large", SMALL, ns(moment)).cost == Decimal(cost), moment


def test_openlits_pricing_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, OPENLIT)
    assert receipt(path, "anyone", "acme-large").cost == Decimal("0.0125")
    assert receipt(path, "anyone", "acme-large", Usage.of({"cache_read": 1_000})).cost == Decimal("0.00025")
    assert receipt(path, "openai", "acme-embed", Usage.of({"input": 1_000})).cost == Decimal("0.0001")
    assert receipt(path, "openai", "acme-voice", Usage.of({"characters": 2_000})).cost == Decimal("0.03")
    picture = Usage.of({"images": 2})
    assert receipt(path, "openai", "acme-draw", picture, quality="standard", size="512x512").cost == Decimal("0.04")
    assert receipt(path, "openai", "acme-draw", picture).cost is None
    assert receipt(path, "openai", "acme-sketch", picture).cost == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'[[price]]\nmodel = "a/b"\ninput = "cheap"', ("price 1, a/b", "input", "'cheap'", "million tokens")),
        (b'[[price]]\nmodel = "a/b"\ninput = -1', ("input", "-1")),
        (b'[[price]]\nmodel = "a/b"\ninput = nan', ("input", "NaN")),
        (b'[[price]]\nmodel = "a/b"\ninpt = "1"', ("inpt", "input")),
        (b'[[price]]\nmodel = "a/b"', ("price 1, a/b", "give buckets")),
        (b'[[price]]\ninput = "1"', ("price 1", "model", "provider/model")),
        (b'[[price]]\nmodel = "a/*b"\ninput = "1"', ("model", "'a/*b'")),
        (b'[[price]]\nmodel = "a/b"\ninput = "1"\nfrom = "soon"', ("from", "'soon'", "2026-11-01")),
        (b'[[price]]\nmodel = "a/b"\ninput = "1"\nfrom = 2026-02-01\nuntil = 2026-01-01', ("until", "after from")),
        (b'[[price]]\nmodel = "a/b"\ninput = "1"\n[[price.above]]\ninput = "2"', ("above 1", "tokens")),
        (b'[[price]]\nmodel = "a/b"\ninput = "1"\n[[price.above]]\ntokens = 9\noutput = "2"', ("output", "below")),
        (b'[[price]]\nmodel = "a/b"\ninput = "1"\n[[price.variant]]\ninput = "2"', ("variant 1", "when")),
        (b'[[price]]\nmodel = "a/b"\ninput = "1"\n[[price.variant]]\nhours = ["9-17"]\ninput = "2"', ("hours", "9-17")),
        (b'[[price]]\nmodel = "a/b"\ninput = "1"\n[[price.variant]]\ndays = ["sunday"]\ninput = "2"', ("days", "sun")),
        (b'[[price]]\nmodel = "a/b"\ninput = "1"\n[[price]]\nmodel = "A/B"\ninput = "2"', ("a/b", "hold at once")),
        (b'colour = 1\n[[price]]\nmodel = "a/b"\ninput = "1"', ("colour", "updated")),
        ({"m": {"litellm_provider": "x", "input_cost_per_token": "free"}}, ("m:", "input_cost_per_token", "'free'")),
        ({"m": {"litellm_provider": "x", "input_cost_per_token": -1}}, ("input_cost_per_token", "-1")),
        ({"m": {"litellm_provider": "x", "input_cost_per_token": True}}, ("input_cost_per_token", "True")),
        ({"m": 7, "n": {"litellm_provider": "x"}}, ("m:", "7", "input_cost_per_token")),
        ({"m": {"litellm_provider": "x", "off_peak_pricing": {"windows": [{"hours_utc": "x"}]}}}, ("off_peak",)),
        ([{"modelName": "m", "matchPattern": "(", "prices": {"input": 1}}], ("m:", "matchPattern", "regular")),
        ([{"modelName": "m", "matchPattern": "m", "prices": {"input": "x"}}], ("m, tier", "prices.input", "'x'")),
        ([{"modelName": "m", "matchPattern": "m"}], ("m, tier", "prices")),
        (
            [{"matchPattern": "m", "pricingTiers": [{"prices": {"input": 1}, "conditions": [{"operator": "lt"}]}]}],
            ("definition 1", "conditions", "gt"),
        ),
        ({"chat": {"m": {"promptPrice": "x"}}}, ("chat.m", "promptPrice", "'x'")),
        ({"chat": {"m": {"prompt": 1}}}, ("chat.m", "prompt", "promptPrice")),
        ({"chat": {"m": 1}}, ("chat.m", "promptPrice")),
        ({"images": {"m": {"hd": 1}}}, ("images.m", "hd", "1024x1024")),
        ({"chat": {}, "videos": {}}, ("videos", "embeddings")),
        ({"chat": {}}, ("empty",)),
        ({"hello": "world"}, ("four shapes", "LiteLLM", "Langfuse", "OpenLIT")),
        (b"{", ("not JSON",)),
        (b"x = [", ("not TOML",)),
        (b"\xff\xfe", ("UTF-8",)),
        (b'{"m": {"litellm_provider": "x", "input_cost_per_token": NaN}}', ("input_cost_per_token", "NaN")),
    ],
)
def test_a_bad_line_is_refused_at_the_start_and_named(tmp_path: Path, content: Any, words: tuple[str, ...]) -> None:
    path = write(tmp_path, json.dumps(content).encode() if isinstance(content, (dict, list)) else content, "my.prices")
    with pytest.raises(ConfigError) as caught:
        PriceBook(path)
    assert all(word in str(caught.value) for word in ("my.prices", *words)), str(caught.value)


def test_all_bad_lines_are_told_at_once(tmp_path: Path) -> None:
    content = {
        name: {"litellm_provider": "x", "input_cost_per_token": "free", "output_cost_per_token": -1}
        for name in ("first", "second")
    }
    with pytest.raises(ConfigError) as caught:
        PriceBook(write(tmp_path, content))
    text = str(caught.value)
    assert "4 bad lines, and none of them is used" in text
    assert all(f"prices.json, {name}: {field}" in text for name in content for field in ("input_cost", "output_cost"))


@pytest.mark.parametrize(
    ("prices", "words"),
    [
        ("/nowhere/at/all.json", ("/nowhere/at/all.json", "No such file")),
        ("", ("empty",)),
        (7, ("int", "mapping")),
        (["", {"a/b": {"input": "1"}}], ("empty",)),
        ("http://example.com/prices.json", ("example.com/prices.json", "https")),
        ("ftp://example.com/prices.json", ("https",)),
        ("https://", ("https",)),
    ],
)
def test_what_is_no_source_of_prices_is_refused(prices: Any, words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        PriceBook(prices)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_amounts_are_what_the_text_says_and_never_floats(tmp_path: Path) -> None:
    content = b'{"price": [{"model": "a/b", "input": 0.1, "output": 0.30000000000000004}]}'
    table, shape = read_prices(content, "p")
    rates = table.find(("a",), ("b",), NOON, ()).rates
    assert shape == "costguard"
    assert rates is not None
    one = rates.receipt(Usage.of({"input": 1_000_000, "output": 1_000_000}))
    assert [line.subtotal for line in one.lines] == [Decimal("0.1"), Decimal("0.30000000000000004")]


def test_a_changed_file_is_read_again_and_a_bad_one_leaves_the_prices(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path, one_price("1"))
    book = PriceBook(path, refresh=3_600)
    usage = Usage.of({"input": 1_000_000})

    def cost_after(content: bytes, second: int) -> Decimal | None:
        path.write_bytes(content)
        os.utime(path, (second, second))
        book.look()
        return book.receipt("acme", "m", usage, NOON).cost

    assert cost_after(one_price("2"), 1_000) == 2
    assert cost_after(b"[[price]]\nmodel = 1", 2_000) == 2
    assert cost_after(b"", 3_000) == 2
    path.unlink()
    assert book.look()
    assert book.receipt("acme", "m", usage, NOON).cost == 2
    assert "stay as they are" in caplog.text
    assert cost_after(one_price("3"), 4_000) == 3


def test_a_model_without_a_price_gets_one_when_its_list_does(tmp_path: Path) -> None:
    path = write(tmp_path, one_price("1"))
    book = PriceBook(path)
    assert book.rates("acme", "other", NOON) is None
    path.write_bytes(one_price("1", "acme/other"))
    os.utime(path, (1_000, 1_000))
    assert book.look() == []
    assert book.rates("acme", "other", NOON) is not None
    assert book.rates("acme", "m", NOON) is None
