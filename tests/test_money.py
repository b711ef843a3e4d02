from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costguard.errors import ConfigError
from costguard.money import from_nanos, show_usd, to_nanos, to_nanos_up, usd

NANOS = st.integers(min_value=-(10**18), max_value=10**18)


@given(NANOS)
def test_nano_dollars_survive_the_way_to_decimal_and_back(nanos: int) -> None:
    assert to_nanos(from_nanos(nanos)) == nanos


@given(st.decimals(min_value=0, max_value=10**6, places=15))
def test_a_hold_is_never_rounded_below_what_it_covers(amount: Decimal) -> None:
    assert from_nanos(to_nanos_up(amount)) >= amount
    assert from_nanos(to_nanos_up(amount)) - amount < Decimal("1e-9")


@given(st.lists(NANOS, max_size=50))
def test_sums_of_amounts_are_exact(amounts: list[int]) -> None:
    assert to_nanos(sum((from_nanos(nanos) for nanos in amounts), Decimal(0))) == sum(amounts)


def test_an_app_with_a_short_decimal_context_loses_no_money() -> None:
    with localcontext(prec=3):
        assert to_nanos(from_nanos(1_234_567_891)) == 1_234_567_891
        assert show_usd(Decimal("1234.567891")) == "$1,234.567891"
        assert show_usd(Decimal("-1234.567891")) == "-$1,234.567891"


@pytest.mark.parametrize(
    ("written", "meant"), [("0.50", "0.5"), ("$5", "5"), ("$1,200.25", "1200.25"), (5, "5"), (Decimal("0.1"), "0.1")]
)
def test_amounts_are_read_as_people_write_them(written: object, meant: str) -> None:
    assert usd(written) == Decimal(meant)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [0.5, "five", "", "-1", "NaN", "Infinity", True, None, "1e999999999"])
def test_an_amount_that_is_not_exact_money_is_refused_by_name(wrong: object) -> None:
    with pytest.raises(ConfigError, match="budget limit"):
        usd(wrong, what="budget limit")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("5", "$5.00"), ("4.98", "$4.98"), ("0.000123", "$0.000123"), ("1234.5", "$1,234.50"),
        ("-0.5", "-$0.50"), ("0", "$0.00"), ("0.0000000001", "$0.00"),
    ],
)  # fmt: skip
def test_amounts_are_shown_with_the_digits_they_need(amount: str, shown: str) -> None:
    assert show_usd(Decimal(amount)) == shown
