from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costguard import Budget, ConfigError, Tags
from costguard.budget_set import BudgetSet
from costguard.budgets import WINDOWS, window_bounds

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def ns(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1) * 1000


def moment(at_ns: int) -> datetime:
    return EPOCH + timedelta(microseconds=at_ns // 1000)


names = st.sampled_from(["user", "feature", "environment", "team", "plan", "route"])
values = st.text("abcXYZ019_-./:{}@", min_size=1, max_size=12)
budgets = st.builds(
    Budget,
    limit=st.decimals(min_value="0.000000001", max_value=10**6, places=9).filter(lambda limit: limit > 0),
    window=st.sampled_from(WINDOWS),
    per=st.lists(names, unique=True, max_size=3).map(tuple),
    where=st.dictionaries(names, values, max_size=2).map(lambda where: tuple(where.items())),
    tz=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"]),
)


@given(budgets)
def test_a_budget_reads_back_from_the_line_it_prints(budget: Budget) -> None:
    assert Budget.parse(str(budget)) == budget


@pytest.mark.parametrize(
    ("line", "limit", "window", "per", "where"),
    [
        ("$5/day per user", "5", "day", ("user",), {}),
        ("$500/month", "500", "month", (), {}),
        (
            "$0.50/day per user,feature where environment=production",
            "0.50", "day", ("user", "feature"), {"environment": "production"},
        ),
        ("  $1,000 / ever  ", "1000", "ever", (), {}),
        ("10/HOUR per team where plan=pro, user=alice", "10", "hour", ("team",), {"plan": "pro", "user": "alice"}),
    ],
)  # fmt: skip
def test_budgets_are_read_from_one_line(
    line: str, limit: str, window: str, per: tuple[str, ...], where: dict[str, str]
) -> None:
    budget = Budget.parse(line)
    assert (budget.limit, budget.window, budget.per, dict(budget.where)) == (Decimal(limit), window, per, where)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "cannot be read"),
        ("$5", "has no window"),
        ("$5/fortnight", "window 'fortnight'.*/hour, /day, /week, /month, /ever"),
        ("five dollars/day", "cannot be read"),
        ("$0/day", "would refuse every call"),
        ("$5/day by user", "cannot be read"),
        ("$5/day per user,user", "names a tag twice"),
        ("$5/day per 2user", "cannot be read"),
        ("$5/day where environment", "cannot be read"),
        ("$5/day where user=a,user=b", "names the tag 'user' twice"),
        ("$5/day tz Mars/Olympus", "time zone 'Mars/Olympus'.*Europe/Berlin"),
        ("$1.2.3/day", "limit '\\$1.2.3'"),
        ("-$5/day", "cannot be read"),
        (5, "is a int, not a line"),
    ],
)
def test_a_wrong_budget_line_is_named_with_the_way_out(line: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as error:
        Budget.parse(line)
    assert repr(line) in str(error.value)


def test_a_float_is_never_a_limit() -> None:
    with pytest.raises(ConfigError, match="float"):
        Budget(limit=0.1, window="day")  # type: ignore[arg-type]


@given(
    st.sampled_from(["hour", "day", "week", "month"]),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]),
    st.integers(min_value=ns(datetime(2020, 1, 1, tzinfo=UTC)), max_value=ns(datetime(2035, 1, 1, tzinfo=UTC))),
)
def test_windows_contain_their_moment_and_follow_each_other_without_a_gap(window: str, tz: str, at_ns: int) -> None:
    start, end = window_bounds(window, tz, at_ns)  # type: ignore[arg-type]
    assert end is not None
    assert start <= at_ns < end
    assert window_bounds(window, tz, start)[0] == start  # type: ignore[arg-type]
    assert window_bounds(window, tz, end)[0] == end  # type: ignore[arg-type]
    assert window_bounds(window, tz, end - 1000) == (start, end)  # type: ignore[arg-type]
    if window != "hour":
        local = moment(start).astimezone(ZoneInfo(tz))
        assert (local.hour, local.minute, local.second) == (0, 0, 0)


@pytest.mark.parametrize(("day", "hours"), [((2026, 3, 29), 23), ((2026, 10, 25), 25), ((2026, 6, 1), 24)])
def test_a_day_that_daylight_saving_changes_ends_at_local_midnight(day: tuple[int, int, int], hours: int) -> None:
    noon = datetime(*day, 12, tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC)
    start, end = window_bounds("day", "Europe/Berlin", ns(noon))
    assert end is not None
    assert (end - start) // (3600 * 10**9) == hours


def test_a_tag_that_was_not_given_is_a_payer_of_its_own() -> None:
    limit = Budget.parse("$5/day per user").limit_for(Tags(feature="chat"), 0)
    assert limit.payer == (("user", "unattributed"),)
    assert limit.standing(0, 0).payer == "user=unattributed"


def test_changing_the_amount_of_a_budget_keeps_its_account() -> None:
    five, six = Budget.parse("$5/day per user"), Budget.parse("$6/day per user")
    assert five.limit_for(Tags(user="a"), 0).key == six.limit_for(Tags(user="a"), 0).key


@given(st.dictionaries(names, st.text(max_size=5), max_size=3), st.dictionaries(names, st.text(max_size=5), max_size=3))
def test_two_payers_never_share_an_account(one: dict[str, str], other: dict[str, str]) -> None:
    budget = Budget(limit=Decimal(1), per=("user", "team"))
    first, second = (budget.limit_for(Tags(tags), 0) for tags in (one, other))
    assert (first.key == second.key) == (first.payer == second.payer)


def test_a_call_falls_under_every_budget_whose_where_it_matches() -> None:
    chosen = BudgetSet(["$5/day per user", "$9/day where environment=production", "$1/hour where feature=chat"])
    limits = chosen.limits(Tags(user="alice", environment="production"), 0)
    assert [str(limit.budget) for limit in limits] == ["$5.00/day per user", "$9.00/day where environment=production"]


def test_limits_are_taken_in_the_order_of_their_keys() -> None:
    chosen = BudgetSet(["$5/month", "$5/day", "$5/hour per user", "$5/ever per feature"])
    keys = [limit.key for limit in chosen.limits(Tags(user="z", feature="a"), 10**18)]
    assert keys == sorted(keys)


def test_a_window_that_ended_is_not_used_again() -> None:
    chosen = BudgetSet(["$5/day", "$5/month"])
    day = 24 * 3600 * 10**9
    for at_ns in (0, day - 1, day, 5 * day, day):
        for limit in chosen.limits(Tags(user="a"), at_ns):
            assert limit.end is not None
            assert limit.start <= at_ns < limit.end


def test_two_budgets_that_count_the_same_account_are_refused() -> None:
    with pytest.raises(ConfigError, match=r'"\$5.00/day per user" and "\$6.00/day per user"'):
        BudgetSet(["$5/day per user", "$6/day per user"])
    assert len(BudgetSet(["$5/day", "$5.00/day"])) == 1


def test_one_line_in_place_of_a_list_is_explained() -> None:
    with pytest.raises(ConfigError, match="must be a list"):
        BudgetSet("$5/day")
