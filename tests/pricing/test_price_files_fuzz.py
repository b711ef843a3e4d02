"""Whatever a price list holds: it is refused by name, or every look-up in it works."""

from __future__ import annotations

import copy
import json
import random
from decimal import Decimal
from typing import Any

import pytest

from costguard.errors import ConfigError
from costguard.pricing.price_file import read_prices
from costguard.pricing.usage import Usage
from tests.pricing.lists import OURS
from tests.pricing.test_price_files import LANGFUSE, LITELLM, NOON, OPENLIT

ODD: list[Any] = [
    None, True, False, "", "x", "1", "-1", "1e-3000000", "1e3000000", "NaN", "Infinity", -1, 0, 1e-320, 1e308,
    10**40, [],
    {}, [[]], {"a": {}}, [None], ["00:00-00:00"], {"price": 1}, "2026-13-40", "2026-11-01",
    "\x00", "(", "(a+)+$", [1, 2, 3],
]  # fmt: skip
OURS_JSON: dict[str, Any] = {
    "updated": "2026-11-20",
    "price": [
        {
            "model": "acme/large", "input": 2.5, "output": "10", "from": "2026-01-01",
            "until": "2027-01-01", "least": {"input": 2},
            "above": [{"tokens": 100, "input": 5}],
            "variant": [
                {"when": {"service_tier": "flex"}, "input": 1, "above": [{"tokens": 7, "input": 5}]},
                {"hours": ["16:30-00:30"], "days": ["mon"], "multiply": "0.5"},
            ],
        },
        {"model": "acme/ear*", "audio_hours": 0.36, "context_window": 5},
    ],
}  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in inner for place in places(each, (*path, key)))]


def mutated(data: Any, chance: random.Random) -> Any:
    changed = copy.deepcopy(data)
    for _ in range(chance.randint(1, 3)):
        path = chance.choice(places(changed)[1:] or [()])
        if not path:
            continue
        inside = changed
        for key in path[:-1]:
            inside = inside[key]
        if chance.random() < 0.2:
            del inside[path[-1]]
        elif isinstance(inside, dict) and chance.random() < 0.2:
            inside[str(chance.choice(ODD))] = inside.pop(path[-1])
        else:
            inside[path[-1]] = copy.deepcopy(chance.choice(ODD))
    return changed


def look_up_all(content: bytes) -> None:
    table, _ = read_prices(content, "p")
    usage = Usage.of({"input": 300_000, "output": 5, "seconds": 1, "images": 1, "web_searches": 1}, reasoning_tokens=2)
    for name in ("large", "ear-1", "acme-large", "acme-night", "acme-tiers", "acme-draw", "acme-embed"):
        for context in ((), (("service_tier", "flex"),), (("batch", "true"), ("inference_geo", "eu"))):
            for provider in ("acme", "openai", "deepseek", "dashscope"):
                found = table.find((provider,), (name,), NOON, context)
                assert found.from_ns <= NOON < found.until_ns
                if found.rates is not None:
                    assert found.rates.nanos(usage) >= 0
                    cost = found.rates.receipt(usage).cost
                    assert cost is None or isinstance(cost, Decimal)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    "data", [OURS_JSON, LITELLM, LANGFUSE, OPENLIT], ids=["ours", "litellm", "langfuse", "openlit"]
)
def test_an_odd_list_is_refused_or_works(data: Any, seed: int) -> None:
    look_up_all(json.dumps(data).encode())
    chance = random.Random(seed)
    refused = 0
    for _ in range(60):
        try:
            look_up_all(json.dumps(mutated(data, chance)).encode())
        except ConfigError as error:
            assert str(error).startswith("the prices of p ")
            refused += 1
    assert refused > 10


def test_bytes_that_are_no_list_are_refused_by_name() -> None:
    chance = random.Random(1)
    for _ in range(400):
        content = bytearray(OURS)
        for _ in range(chance.randint(1, 6)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        try:
            look_up_all(bytes(content))
        except ConfigError as error:
            assert str(error).startswith("the prices of p ")
