"""Old prices are told: at 14 days in the log, at 45 to whoever is to know."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from costguard.pricing.ages import Ages, StalePrices, age_days
from costguard.pricing.book import PriceBook
from tests.pricing.lists import OURS, one_price

DAY = 86_400 * 10**9
NOW = 1_793_793_600 * 10**9


def test_a_list_is_warned_of_at_14_days_and_told_at_45_once_each(caplog: pytest.LogCaptureFixture) -> None:
    told: list[StalePrices] = []
    ages = Ages(told.append)
    for days in (0, 13, 14, 20, 44, 45, 46, 400):
        ages.look([("my.toml", NOW - days * DAY)], NOW)
    # The date moved with each look: each was a list of its own.
    assert [each.days for each in told] == [45, 46, 400]
    caplog.clear()
    ages = Ages(told.append)
    for days in (14, 15, 44, 45, 46):
        ages.look([("my.toml", NOW)], NOW + days * DAY)
    assert [each.days for each in told][3:] == [45]
    assert [record.args[1] for record in caplog.records if isinstance(record.args, tuple)] == [14, 45]


def test_a_list_of_unknown_age_is_not_warned_of() -> None:
    assert Ages().look([("overrides", None)], NOW) == []
    assert age_days(None) is None
    assert age_days(NOW - 3 * DAY, NOW) == 3


def test_one_that_fails_to_hear_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def fails(_: StalePrices) -> None:
        raise RuntimeError("no channel")

    assert len(Ages(fails).look([("my.toml", NOW - 50 * DAY)], NOW)) == 1
    assert "could be told" in caplog.text


def test_the_age_of_a_file_is_what_it_says_else_when_it_was_written(tmp_path: Path) -> None:
    says, silent = tmp_path / "says.toml", tmp_path / "silent.json"
    says.write_bytes(OURS)
    silent.write_bytes(one_price("1"))
    os.utime(silent, (1_700_000_000, 1_700_000_000))
    dated = dict(PriceBook([says, silent]).dated())
    assert dated["says.toml"] == 1_795_132_800 * 10**9  # 2026-11-20
    assert dated["silent.json"] == 1_700_000_000 * 10**9


def test_a_book_tells_of_an_old_list_at_the_first_price(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_bytes(one_price("1"))
    os.utime(path, (1_700_000_000, 1_700_000_000))
    told: list[StalePrices] = []
    book = PriceBook(path, told=told.append)
    for _ in range(3):
        book.rates("acme", "m", time.time_ns())
    assert [each.source for each in told if each.source == "old.json"] == ["old.json"]


def test_the_shipped_list_has_an_age() -> None:
    name, dated = PriceBook().dated()[-1]
    assert name.startswith("genai-prices ")
    assert dated is not None
    assert dated < time.time_ns()
