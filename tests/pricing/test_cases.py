"""Responses with the exact USD that they cost, by arithmetic from published prices."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from costguard.money import to_nanos
from costguard.pricing.book import PriceBook
from costguard.pricing.usage import Usage

CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "cases.json").read_text())

NOT_YET_EXACT: dict[str, str] = {}
"""Case id to the reason. Strict: a case that became exact fails until it is taken off."""


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return PriceBook()


def ns(moment: str) -> int:
    return int(datetime.fromisoformat(moment).timestamp()) * 10**9


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_a_case_costs_exactly_what_the_provider_charges(
    case: dict[str, Any], book: PriceBook, request: pytest.FixtureRequest
) -> None:
    if case["id"] in NOT_YET_EXACT:
        request.applymarker(pytest.mark.xfail(reason=NOT_YET_EXACT[case["id"]], strict=True))
    usage = Usage.of(case["buckets"])
    context = tuple(sorted((name, str(value)) for name, value in case["context"].items()))
    receipt = book.receipt(case["provider"], case["model"], usage, ns(case["at"]), context)
    assert receipt.cost == Decimal(case["expected_usd"]), case["derivation"]
    assert not receipt.partial
    assert sum(line.subtotal for line in receipt.lines) == receipt.cost
    rates = book.rates(case["provider"], case["model"], ns(case["at"]), context)
    assert rates is not None
    assert rates.nanos(usage) == to_nanos(Decimal(case["expected_usd"]))


def test_every_category_is_there() -> None:
    assert len(CASES) == 43
    assert {"plain", "cache-read", "cache-write", "tier", "reasoning"} <= {case["category"] for case in CASES}
    assert NOT_YET_EXACT.keys() <= {case["id"] for case in CASES}
