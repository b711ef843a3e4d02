"""OpenLIT's `pricing.json`: USD per thousand tokens, of speech per thousand characters, of images each.

docs.openlit.io/latest/sdk/features/pricing, and github.com/openlit/openlit/blob/main/assets/pricing.json.
It names no providers: a price is for whoever serves the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from costguard.pricing.listing import Listing, Terms
from costguard.pricing.problems import Problems
from costguard.pricing.rates import EXACT
from costguard.pricing.table import Table, flat

KINDS = ("chat", "embeddings", "audio", "images", "rerank")
CHAT = {
    "promptPrice": "input", "completionPrice": "output", "cacheReadPrice": "cache_read",
    "cacheCreationPrice": "cache_write_5m",
}  # fmt: skip
_THOUSAND = Decimal(1_000)


def is_openlit(data: Any) -> bool:
    return (
        isinstance(data, dict)
        and any(kind in data for kind in KINDS)
        and all(isinstance(models, dict) for models in data.values())
    )


def read_openlit(data: Mapping[str, Any], problems: Problems) -> Table:
    """Check and read every price."""
    by_model: dict[str, list[Terms]] = {}
    for kind, models in data.items():
        if kind not in KINDS:
            problems.add(kind, "the group", models, f"the groups are {', '.join(KINDS)}")
            continue
        for model, given in models.items():
            terms = _terms(kind, f"{kind}.{model}", given, problems)
            # One name may be in two groups, e.g. as chat and as embeddings.
            by_model.setdefault(model.lower(), []).extend(terms)
    return Table({model: Listing("", model, _merged(terms)) for model, terms in by_model.items() if terms})


def _terms(kind: str, entry: str, given: Any, problems: Problems) -> list[Terms]:
    if kind == "chat":
        return _chat(entry, given, problems)
    if kind == "images":
        return _images(entry, given, problems)
    unit = {"audio": "thousand characters", "rerank": "search"}.get(kind, "thousand tokens")
    price = problems.price(entry, "the price", given, unit)
    if price is None:
        return []
    if kind == "rerank":
        return [Terms({"search_units": flat(price)})]
    return [Terms({"characters" if kind == "audio" else "input": flat(EXACT.divide(price, _THOUSAND))})]


def _chat(entry: str, given: Any, problems: Problems) -> list[Terms]:
    if not isinstance(given, dict):
        problems.add(entry, "the entry", given, 'write {"promptPrice": 0.0025, "completionPrice": 0.01}')
        return []
    prices = {}
    for field, value in given.items():
        if field not in CHAT:
            problems.add(entry, field, value, f"the fields are {', '.join(CHAT)}")
        elif (price := problems.price(entry, field, value, "thousand tokens")) is not None:
            prices[CHAT[field]] = flat(EXACT.divide(price, _THOUSAND))
    return [Terms(prices)]


def _images(entry: str, given: Any, problems: Problems) -> list[Terms]:
    """Prices by quality and size: each is for calls of that quality and size, and the price of all if there is one."""
    shape = 'write {"standard": {"1024x1024": 0.04}}'
    if not isinstance(given, dict):
        problems.add(entry, "the entry", given, shape)
        return []
    found: list[tuple[str, str, Decimal]] = []
    for quality, sizes in given.items():
        if not isinstance(sizes, dict):
            problems.add(entry, quality, sizes, shape)
            continue
        for size, value in sizes.items():
            price = problems.price(entry, f"{quality}.{size}", value, "image")
            if price is not None:
                found.append((quality, size, price))
    one = {price for _, _, price in found}
    return [
        Terms({"images": flat(one.pop())} if len(one) == 1 else {}),
        *(Terms({"images": flat(price)}, {"quality": quality, "size": size}) for quality, size, price in found),
    ]


def _merged(terms: list[Terms]) -> tuple[Terms, ...]:
    usual = [each for each in terms if not each.when]
    prices = {bucket: steps for each in usual for bucket, steps in each.prices.items()}
    return (Terms(prices), *(each for each in terms if each.when))
