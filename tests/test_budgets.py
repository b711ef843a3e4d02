from dataclasses import replace
from datetime import timedelta
from decimal import Decimal, localcontext
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costguard import Budget, ConfigError, Tags
from costguard.windows import WINDOWS

names = st.sampled_from(["user", "feature", "environment", "team", "plan", "route"])
values = st.text(max_size=12, alphabet=st.characters(codec="utf-8")).filter(lambda text: len(Tags(user=text)) == 1)
pairs = st.dictionaries(names, values, max_size=3).map(lambda pairs: tuple(pairs.items()))
fractions = st.decimals(min_value="0.000000001", max_value=10, places=9)
windows: list[str] = [window for window in WINDOWS if window != "rolling"]
spans = st.builds(lambda number, unit: f"{number}{unit}", st.integers(1, 366), st.sampled_from("mhdw"))
acts = st.sampled_from(["alert", "fit", "downgrade:gpt-4o-mini", "downgrade:arn:aws:bedrock/x"])
most_usd = st.decimals(min_value="0.000000001", max_value=10**6, places=9).filter(lambda limit: limit > 0)


@st.composite
def any_budget(draw: st.DrawFn) -> Budget:
    unit = draw(st.sampled_from(["usd", "tokens", "calls"]))
    fields: dict[str, Any] = {
        "limit": draw(most_usd if unit == "usd" else st.integers(1, 10**15)),
        "window": draw(st.sampled_from(windows) | spans),
        "per": draw(st.lists(names, unique=True, max_size=3)),
        "where": draw(pairs),
        "tz": draw(st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"])),
        "holds": draw(st.sampled_from([None, "learned", "strict"])),
        "alerts": draw(st.lists(fractions, max_size=3)),
        "name": draw(values),
        "for_": draw(pairs),
        "unit": unit,
        "actions": draw(st.lists(st.tuples(fractions.filter(lambda at: at <= 1), acts), max_size=3)),
        "observe": draw(st.booleans()),
    }
    return Budget(**fields)


budgets = any_budget()


@settings(deadline=None)
@given(budgets)
def test_a_budget_reads_back_from_the_line_it_prints(budget: Budget) -> None:
    again = Budget.parse(str(budget))
    assert again == budget
    assert (again.account, again.identity) == (budget.account, budget.identity)


@settings(deadline=None)
@given(budgets)
def test_a_budget_is_what_replacing_nothing_of_it_makes(budget: Budget) -> None:
    assert replace(budget) == budget


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
        ("$5/rolling", "window 'rolling'.*a span such as /30d"),
        ("$5/0d", "whole minutes, from one"),
        ("$5/9999d", "to 3660 days"),
        ("$5 tokens/day", r"has a \$, but is in tokens"),
        ("1.5 calls/day", "'1.5' must be a whole number of calls"),
        ("$5/day per user per team", "says 'per' twice"),
        ("$5/day for plan", "from 'for plan' on"),
        ("$5/day then downgrade at 80%", "from 'then downgrade at 80%' on"),
        ("$5/day then fit at 120%", "action fit at 120% is past the limit"),
        ("$5/day then refuse at 90%", "action refuse at 90% is a lower limit"),
        ("$5/day then alert at 100%, refuse at 100%", "both alert and refuse"),
        ("$5/day alerts at 2000%", "must be above 0"),
        ("$5/day holds loosely", "from 'holds loosely' on"),
    ],
)
def test_a_wrong_budget_line_is_named_with_the_way_out(line: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as error:
        Budget.parse(line)
    assert repr(line) in str(error.value)


def test_a_float_is_never_a_limit() -> None:
    with pytest.raises(ConfigError, match="float"):
        Budget(limit=0.1, window="day")  # type: ignore[arg-type]


def test_a_tag_that_was_not_given_is_a_payer_of_its_own() -> None:
    limit = Budget.parse("$5/day per user").limit_for(Tags(feature="chat"), 0)
    assert limit.payer == (("user", "unattributed"),)
    assert limit.standing(0, 0).payer == "user=unattributed"


def test_changing_the_amount_of_a_budget_keeps_its_account() -> None:
    five, six = Budget.parse("$5/day per user"), Budget.parse("$6/day per user")
    assert five.limit_for(Tags(user="a"), 0).key == six.limit_for(Tags(user="a"), 0).key


@settings(deadline=None)
@given(st.dictionaries(names, st.text(max_size=5), max_size=3), st.dictionaries(names, st.text(max_size=5), max_size=3))
def test_two_payers_never_share_an_account(one: dict[str, str], other: dict[str, str]) -> None:
    budget = Budget(limit=Decimal(1), per=("user", "team"))
    first, second = (budget.limit_for(Tags(tags), 0) for tags in (one, other))
    assert (first.key == second.key) == (first.payer == second.payer)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("100_000 tokens/day per user", {"limit": 100_000, "unit": "tokens"}),
        ("1 call/hour", {"limit": 1, "unit": "calls", "window": "hour"}),
        ("$20/30d per user", {"window": "rolling", "span": timedelta(days=30)}),
        ("$1/24h", {"span": timedelta(hours=24)}),
        ("$3/90m", {"span": timedelta(minutes=90)}),
        ("$0.25/call", {"window": "call", "is_local": True}),
        ("$1/request", {"window": "request", "is_local": True}),
        ("$50/day per user for plan=pro", {"for_": (("plan", "pro"),)}),
        ('$5/day for team="R & D, Berlin"', {"for_": (("team", "R & D, Berlin"),)}),
        ("$5/day observe", {"observe": True}),
        ("$5/day holds strict", {"holds": "strict"}),
        ("$5/day alerts off", {"alerts": ()}),
        ("$5/day alerts at 90%, 33.3%", {"alerts": (Decimal("0.333"), Decimal("0.9"))}),
        (
            "$5/day then fit at 90%, downgrade:gpt-4o-mini at 80%, refuse at 100%",
            {"actions": ((Decimal("0.8"), "downgrade:gpt-4o-mini"), (Decimal("0.9"), "fit"))},
        ),
        ('$5/day named "the \\"big\\" one"', {"name": 'the "big" one'}),
    ],
)
def test_every_clause_of_the_line_is_a_field(line: str, says: dict[str, object]) -> None:
    budget = Budget.parse(line)
    assert {name: getattr(budget, name) for name in says} == says


def test_the_clauses_may_come_in_any_order() -> None:
    one = Budget.parse("$5/day per user where environment=production for plan=pro tz Europe/Berlin holds strict")
    assert one == Budget.parse(
        "$5/day holds strict tz Europe/Berlin for plan=pro where environment=production per user"
    )


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"window": "rolling"}, "span None"),
        ({"window": "day", "span": timedelta(days=1)}, 'goes with "rolling"'),
        ({"window": "30d", "span": timedelta(days=1)}, "differ"),
        ({"window": "rolling", "span": timedelta(seconds=90)}, "whole minutes"),
        ({"window": "rolling", "span": 30}, "not a timedelta"),
        ({"unit": "euro"}, "'euro' is not one of usd, tokens, calls"),
        ({"unit": "tokens", "limit": "1.5"}, "whole number of tokens"),
        ({"limit": "0.0000000001"}, "finer than a nano-dollar"),
        ({"actions": "fit"}, "list of pairs"),
        ({"actions": ["fit"]}, "pair of fraction and action"),
        ({"actions": [("0.9", "beg")]}, "'beg' is not known"),
        ({"actions": [(0.9, "fit")]}, "float"),
        ({"limit": lambda tags: 5}, "needs a name="),
        ({"name": 5}, "name 5 must be a string"),
    ],
)
def test_a_wrong_field_is_named_with_the_way_out(fields: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Budget(**{"limit": 5, **fields})  # type: ignore[arg-type]


def test_nothing_at_all_is_a_limit_for_somebody_but_not_for_everybody() -> None:
    with pytest.raises(ConfigError, match="would refuse every call"):
        Budget.parse("$0/day per user")
    limit = Budget.parse("$0/day per user for user=mallory").limit_for(Tags(user="mallory"), 0)
    assert (limit.most, limit.marks) == (0, ())


def test_rules_that_differ_in_whom_they_are_for_share_an_account() -> None:
    one, other = Budget.parse("$5/day per user"), Budget.parse("$50/day per user for plan=pro")
    assert one.account == other.account
    assert one.identity != other.identity


@pytest.mark.parametrize(
    "line", ["5 tokens/day per user", "5 calls/day per user", "$5/30d per user", "$5/720h per user"]
)
def test_another_unit_or_span_is_another_account(line: str) -> None:
    assert Budget.parse(line).account != Budget.parse("$5/day per user").account
    assert Budget.parse("$5/30d").account == Budget.parse("$5/720h").account


def test_a_limit_counts_in_integers_of_its_unit() -> None:
    dollars, tokens, calls = (
        Budget.parse(f"{most}/day").limit_for(Tags(), 0) for most in ("$2", "3 tokens", "7 calls")
    )
    assert [limit.unit for limit in (dollars, tokens, calls)] == ["usd", "tokens", "calls"]
    assert [limit.most for limit in (dollars, tokens, calls)] == [2 * 10**9, 3, 7]
    assert [mark for mark, _ in tokens.marks] == [2, 3, 3], "rounded up: half of three tokens is reached by the second"


def test_an_app_with_a_short_decimal_context_is_told_exactly_what_remains() -> None:
    limit = Budget.parse("$1234.567891/hour").limit_for(Tags(), 0)
    with localcontext(prec=3):
        assert limit.standing(1, 2).remaining == Decimal("1234.567890997")


def test_a_standing_says_its_unit() -> None:
    limit = Budget.parse("1000 tokens/hour per user").limit_for(Tags(user="alice"), 0)
    standing = limit.standing(1000, 200)
    assert standing.unit == "tokens"
    assert standing.remaining == 0
    assert str(standing) == (
        "user=alice has spent 1,000 of 1,000 tokens (per user, hour) and 200 tokens is held by running calls; "
        "resets 1970-01-01T01:00Z"
    )


def test_actions_become_thresholds_of_the_limit() -> None:
    limit = Budget.parse("$10/day then downgrade:gpt-4o-mini at 80%, alert at 90%, fit at 95%").limit_for(Tags(), 0)
    assert limit.actions == ((8 * 10**9, "downgrade:gpt-4o-mini"), (9 * 10**9, "alert"), (95 * 10**8, "fit"))
    assert [str(fraction) for _, fraction in limit.marks] == ["0.5", "0.8", "0.9", "1"], "an alert is a mark"
    assert limit.refuses
    assert not Budget.parse("$10/day then alert at 100%").limit_for(Tags(), 0).refuses
    assert Budget.parse("$10/day observe").limit_for(Tags(), 0).observe


def test_what_earlier_buckets_have_used_lowers_a_rolling_limit() -> None:
    limit = Budget.parse("$10/24h then fit at 90%").limit_for(Tags(), 10**18)
    lowered = limit.over(6 * 10**9)
    assert (lowered.key, lowered.most, lowered.prior) == (limit.key, 4 * 10**9, 6 * 10**9)
    assert lowered.marks == ((2 * 10**9, Decimal("0.8")), (4 * 10**9, Decimal(1))), "half of it is told of already"
    assert lowered.actions == ((3 * 10**9, "fit"),)
    assert lowered.over(10**9).most == limit.over(7 * 10**9).most
    assert [other.key for other in lowered.before] == [other.key for other in limit.before]
    assert str(lowered.standing(10**9, 0)).startswith(
        "everyone has spent $7.00 of $10.00 (24h); the first of it returns"
    )
    assert limit.over(0) is limit


def test_a_mark_that_the_earlier_buckets_reached_is_not_told_of_again() -> None:
    limit = Budget.parse("$10/24h alerts at 50%").limit_for(Tags(), 10**18)
    assert limit.over(5 * 10**9).marks == ()
    assert limit.over(5 * 10**9 - 1).marks == ((1, Decimal("0.5")),)


def test_only_a_rolling_limit_has_other_buckets() -> None:
    assert Budget.parse("$10/day").limit_for(Tags(), 10**18).before == ()
    limit = Budget.parse("$10/24h per user").limit_for(Tags(user="a"), 10**18)
    keys = [other.key for other in limit.before]
    assert len(set(keys)) == 25
    assert limit.key not in keys
    assert {other.payer for other in limit.before} == {(("user", "a"),)}


def test_people_are_told_of_a_rolling_limit_once_in_its_span_not_in_every_bucket() -> None:
    budget = Budget.parse("$10/24h per user")
    day, hour = 24 * 3600 * 10**9, 3600 * 10**9
    first, later, next_day = (budget.limit_for(Tags(user="a"), at_ns) for at_ns in (day, day + 5 * hour, 2 * day))
    assert first.key != later.key
    assert first.told_as == later.told_as != next_day.told_as
    assert budget.limit_for(Tags(user="b"), day).told_as != first.told_as
    fixed = Budget.parse("$10/day").limit_for(Tags(), day)
    assert fixed.told_as == fixed.key


@pytest.mark.parametrize("value", ["", "  ", "\0", None])
def test_a_condition_without_a_value_is_refused_and_makes_no_budget_for_everybody(value: Any) -> None:
    for what, fields in (("where", {"where": {"environment": value}}), ("for", {"for_": {"environment": value}})):
        with pytest.raises(ConfigError, match=f"budget {what} environment=.* has no value"):
            Budget(5, "day", **fields)
    with pytest.raises(ConfigError, match="has no value"):
        Budget.parse("$5/day where user=\0")
