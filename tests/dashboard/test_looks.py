"""Numbers as they are read on a page."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from costguard.dashboard import looks


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("0", "$0.00"), ("123456.789", "$123,457"), ("9999.995", "$10,000.00"), ("12.345", "$12.34"), ("1", "$1.00"),
        ("0.1", "$0.10"), ("0.0123456", "$0.0123"), ("0.000012345", "$0.0000123"), ("0.000000001", "$0.000000001"),
        ("-3.5", "-$3.50"), ("0.0999", "$0.10"), ("0.00999999", "$0.01"),
    ],
)  # fmt: skip
def test_an_amount_is_rounded_to_what_can_be_read(amount: str, shown: str) -> None:
    assert looks.usd(Decimal(amount)) == shown


def test_the_exact_amount_has_every_place() -> None:
    assert looks.exact_usd(Decimal("1234.000000001")) == "$1,234.000000001"


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0"), (9999, "9,999"), (12_345, "12.3k"), (999_499, "999k"), (999_999, "1.00M"),
     (4_560_000, "4.56M"), (71_600_000, "71.6M"), (3_200_000_000, "3.20B")],
)  # fmt: skip
def test_a_count_is_shortened_from_ten_thousand_on(number: int, shown: str) -> None:
    assert looks.count(number) == shown


@pytest.mark.parametrize(
    ("part", "shown"),
    [("0", "0 %"), ("0.0001", "<0.1 %"), ("0.0123", "1.2 %"), ("0.2756", "28 %"), ("19.78", "1,978 %"), ("1", "100 %")],
)
def test_a_share_says_no_more_than_it_knows(part: str, shown: str) -> None:
    assert looks.percent(Decimal(part)) == shown


@pytest.mark.parametrize(("part", "shown"), [("-1", "0.00"), ("0.5", "50.00"), ("7", "100.00")])
def test_a_bar_stays_within_its_frame(part: str, shown: str) -> None:
    assert looks.width(Decimal(part)) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "\N{EN DASH}"),
        (0.34, "340 ms"),
        (0.9999, "1.00 s"),
        (1.239, "1.24 s"),
        (64.2, "64.2 s"),
        (125.0, "2 min 5 s"),
    ],
)
def test_a_duration_has_the_unit_that_fits(seconds: float | None, shown: str) -> None:
    assert looks.seconds(seconds) == shown


def test_what_would_move_the_line_is_replaced() -> None:
    assert looks.visible("a\u202eb\x1bc\u2066d") == "a\ufffdb\ufffdc\ufffdd"
    assert looks.visible("<b>é 漢字</b>") == "<b>é 漢字</b>"


def test_moments_are_those_of_utc() -> None:
    at = datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC)
    assert looks.moment(at) == "2026-11-22 01:02:03"
    assert looks.iso(at) == "2026-11-22T01:02:03Z"
    assert looks.date(date(2026, 11, 2)) == "2 Nov"
    assert [looks.span(timedelta(minutes=each)) for each in (5, 65, 1500, 20_000)] == [
        "5 min", "1 h 5 min", "1 d 1 h", "13 d",
    ]  # fmt: skip
