"""Which limits a call has: several sources, the most specific rule, grants, limits that are computed."""

from __future__ import annotations

import logging
from decimal import Decimal
from threading import Event, Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costguard import Budget, ConfigError, Tags
from costguard.budget_set import COMPUTED_NS, BudgetSet
from costguard.grants import Grant

NOW = 1_800_000_000 * 10**9
HOUR = 3600 * 10**9
DAY = 24 * HOUR


def mosts(chosen: BudgetSet, at_ns: int = NOW, **tags: str) -> list[int]:
    """The limits of a call in whole dollars."""
    return [limit.most // 10**9 for limit in chosen.limits(Tags(tags), at_ns)]


def test_a_call_falls_under_every_budget_whose_where_it_matches() -> None:
    chosen = BudgetSet(["$5/day per user", "$9/day where environment=production", "$1/hour where feature=chat"])
    limits = chosen.limits(Tags(user="alice", environment="production"), 0)
    assert [str(limit.budget) for limit in limits] == ["$5.00/day per user", "$9.00/day where environment=production"]


def test_limits_are_taken_in_the_order_of_their_keys() -> None:
    chosen = BudgetSet(["$5/month", "$5/day", "$5/hour per user", "$5/ever per feature"])
    keys = [limit.key for limit in chosen.limits(Tags(user="z", feature="a"), 10**18)]
    assert keys == sorted(keys)


def test_a_window_that_ended_is_not_used_again() -> None:
    chosen = BudgetSet(["$5/day", "$5/month", "$5/7d"])
    for at_ns in (0, DAY - 1, DAY, 5 * DAY, DAY):
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


def test_limits_of_a_call_and_of_a_request_never_reach_a_ledger() -> None:
    chosen = BudgetSet(["$5/day", "$0.25/call", "$1/request where feature=chat"])
    assert [limit.budget.window for limit in chosen.limits(Tags(feature="chat"), NOW)] == ["day"]
    assert [limit.budget.window for limit in chosen.local_limits(Tags(feature="chat"), NOW)] == ["call", "request"]
    assert [limit.budget.window for limit in chosen.local_limits(Tags(), NOW)] == ["call"]
    assert BudgetSet(["$5/day"]).local_limits(Tags(), NOW) == ()


TIERS = ("$5/day per user", "$50/day per user for plan=pro", "$200/day per user for user=alice")


@pytest.mark.parametrize(
    ("tags", "most"),
    [
        ({"user": "bob"}, 5),
        ({}, 5),
        ({"user": "bob", "plan": "pro"}, 50),
        ({"user": "alice", "plan": "pro"}, 200),
        ({"user": "alice"}, 200),
        ({"user": "bob", "plan": "free"}, 5),
    ],
)
def test_the_most_specific_rule_decides(tags: dict[str, str], most: int) -> None:
    assert mosts(BudgetSet(TIERS), NOW, **tags) == [most]
    assert mosts(BudgetSet(reversed(TIERS)), NOW, **tags) == [most]


def test_rules_of_one_account_count_on_one_balance() -> None:
    chosen = BudgetSet(TIERS)
    keys = {chosen.limits(Tags(user="bob", plan=plan), NOW)[0].key for plan in ("free", "pro")}
    assert len(keys) == 1


def test_a_tag_of_the_scope_beats_others_and_more_tags_beat_fewer() -> None:
    chosen = BudgetSet([
        "$1/day per user", "$2/day per user for plan=pro", "$3/day per user for plan=pro,region=eu",
        "$4/day per user for user=alice", "$5/day per user for user=alice,plan=pro",
    ])  # fmt: skip
    assert mosts(chosen, user="bob", plan="pro", region="us") == [2]
    assert mosts(chosen, user="bob", plan="pro", region="eu") == [3]
    assert mosts(chosen, user="alice", plan="free", region="eu") == [4]
    assert mosts(chosen, user="alice", plan="pro", region="eu") == [5]


def test_the_unattributed_payer_can_have_a_limit_of_its_own() -> None:
    chosen = BudgetSet(["$5/day per user", "$1/day per user for user=unattributed"])
    assert (mosts(chosen), mosts(chosen, user="alice")) == ([1], [5])


def test_rules_for_some_leave_others_without_a_limit() -> None:
    chosen = BudgetSet(["$50/day per user for plan=pro"])
    assert (mosts(chosen, plan="pro"), mosts(chosen, plan="free")) == ([50], [])


def test_two_rules_that_are_equally_specific_are_refused_unless_a_third_decides() -> None:
    rules = ["$5/day per user for plan=pro", "$6/day per user for region=eu"]
    with pytest.raises(ConfigError, match=r"equally specific.*add one for plan=pro,region=eu"):
        BudgetSet(rules)
    chosen = BudgetSet([*rules, "$7/day per user for plan=pro,region=eu"])
    assert mosts(chosen, plan="pro", region="eu") == [7]
    with pytest.raises(ConfigError, match="equally specific"):
        chosen.add("$8/day per user for feature=chat")
    assert len(chosen) == 3


def test_of_equally_specific_rules_of_two_sources_the_tighter_decides() -> None:
    chosen = BudgetSet(["$5/day per user for plan=pro"])
    chosen.replace("database", ["$6/day per user for region=eu"])
    assert mosts(chosen, plan="pro", region="eu") == [5]


def test_a_later_source_overrules_an_earlier_one_rule_by_rule() -> None:
    chosen = BudgetSet(["$1/day", "$1/month", "$1/hour"])
    chosen.replace("database", ["$3/hour"])
    chosen.replace("file", ["$2/month", "$2/hour"])
    assert sorted(mosts(chosen)) == [1, 2, 3]
    assert {rule.window: source for source, rule in chosen.origins()} == {
        "day": "code", "month": "file", "hour": "database",
    }  # fmt: skip
    chosen.replace("database", [])
    chosen.replace("file", [])
    assert mosts(chosen) == [1, 1, 1]


def test_a_changed_limit_counts_on_the_same_balance_from_the_next_call_on() -> None:
    chosen = BudgetSet(["$5/day per user"])
    before = chosen.limits(Tags(user="a"), NOW)[0]
    chosen.replace("file", ["$6/day per user", "$9/month"])
    now, month = chosen.limits(Tags(user="a"), NOW)
    assert (before.most, now.most, month.most) == (5 * 10**9, 6 * 10**9, 9 * 10**9)
    assert before.key == now.key


def test_rules_that_contradict_each_other_change_nothing() -> None:
    chosen = BudgetSet(["$5/day"])
    chosen.replace("file", ["$6/day"])
    for wrong in (["$7/day", "$8/day"], ["five"], ["$1/day for a=1", "$2/day for b=1"]):
        with pytest.raises(ConfigError):
            chosen.replace("file", wrong)
    assert mosts(chosen) == [6]
    with pytest.raises(ConfigError, match="source 'moon'"):
        chosen.replace("moon", [])


def test_rules_are_swapped_at_once_under_running_calls() -> None:
    one, other = ["$1/day", "$1/month", "$1/hour"], ["$2/day", "$2/month"]
    chosen = BudgetSet(one)
    done, seen = Event(), set()

    def ask() -> None:
        number = 0
        while not done.is_set():
            number += 1
            seen.add(tuple(mosts(chosen, user=str(number % 50))))

    threads = [Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(300):
            chosen.replace("code", other)
            chosen.replace("code", one)
    finally:
        done.set()
        for thread in threads:
            thread.join(10)
    assert seen <= {(1, 1, 1), (2, 2)}
    assert {tuple(mosts(chosen, user=str(number))) for number in range(50)} == {(1, 1, 1)}


def test_a_computed_limit_is_asked_of_the_tags_and_kept_for_seconds() -> None:
    asked: list[Tags] = []

    def by_plan(tags: Tags) -> Decimal | None:
        asked.append(tags)
        return {"pro": Decimal(50), "free": Decimal(5)}.get(tags.value("plan"))

    chosen = BudgetSet([Budget(limit=by_plan, window="day", per=("user",), name="by plan")])
    assert mosts(chosen, user="a", plan="pro") == [50]
    assert mosts(chosen, user="a", plan="free") == [5]
    assert mosts(chosen, user="a", plan="none") == [], "None: it does not apply"
    assert mosts(chosen, NOW + COMPUTED_NS - 1, user="a", plan="pro") == [50]
    assert len(asked) == 3
    assert mosts(chosen, NOW + COMPUTED_NS, user="a", plan="pro") == [50]
    assert len(asked) == 4
    limit = chosen.limits(Tags(user="a", plan="pro"), NOW)[0]
    assert (str(limit.budget), limit.budget.title) == ('$50.00/day per user named "by plan"', "by plan")


def test_a_computed_limit_can_leave_the_decision_to_the_next_rule() -> None:
    special = Budget(limit=lambda tags: None, per=("user",), for_=(("user", "alice"),), name="special")
    assert mosts(BudgetSet(["$5/day per user", special]), user="alice") == [5]


def test_a_computed_limit_that_fails_stays_the_last_known_one(caplog: pytest.LogCaptureFixture) -> None:
    answers: list[object] = [7, RuntimeError("the plans are down"), 8]

    def ask_the_plans(tags: Tags) -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[return-value]

    chosen = BudgetSet([Budget(limit=ask_the_plans, window="ever", name="plans")])
    assert mosts(chosen, NOW) == [7]
    with caplog.at_level(logging.ERROR, "costguard"):
        assert mosts(chosen, NOW + COMPUTED_NS) == [7]
    assert "'plans'" in caplog.text
    assert "the plans are down" in caplog.text
    assert mosts(chosen, NOW + 2 * COMPUTED_NS) == [8]


@pytest.mark.parametrize(
    ("answer", "says"), [(0.5, "float"), ("much", "not an amount"), (0, r"\$0.00, which would refuse every call")]
)
def test_a_computed_limit_that_never_gave_one_is_named(answer: object, says: str) -> None:
    def compute(tags: Tags) -> object:
        return answer

    chosen = BudgetSet([Budget(limit=compute, name="plans")])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=rf"budget 'plans' could not be computed by .*compute.*{says}"):
        chosen.limits(Tags(user="a"), NOW)


def grant(budget: object = "$5/day per user", **given: object) -> Grant:
    return Grant(**{"account": budget, "payer": {"user": "alice"}, "amount": "3", "at_ns": NOW, **given})  # type: ignore[arg-type]


def test_a_grant_raises_the_limit_of_its_payer_while_it_is_in_force() -> None:
    chosen = BudgetSet(["$5/day per user", "$7/day per user for plan=pro"])
    chosen.grant(grant(until_ns=NOW + HOUR, author="kim", reason="demo day"))
    assert mosts(chosen, NOW - 1, user="alice") == [5]
    assert mosts(chosen, NOW, user="alice") == [8]
    assert mosts(chosen, NOW, user="alice", plan="pro") == [10], "whichever rule decides"
    assert mosts(chosen, NOW, user="bob") == [5]
    assert mosts(chosen, NOW + HOUR - 1, user="alice") == [8]
    assert mosts(chosen, NOW + HOUR, user="alice") == [5]
    limit = chosen.limits(Tags(user="alice"), NOW)[0]
    assert limit.marks[-1] == (8 * 10**9, Decimal(1))
    assert limit.standing(0, 0).limit == 8


def test_a_grant_without_an_end_is_for_the_window_it_was_made_in() -> None:
    day = NOW // DAY * DAY
    chosen = BudgetSet(["$5/day per user", "$6/ever per user", "$7/7d per user"])
    chosen.set_grants([grant(), grant("$6/ever per user"), grant("$7/7d per user")])

    def of_each(at_ns: int) -> dict[str, int]:
        return {limit.budget.period: limit.most // 10**9 for limit in chosen.limits(Tags(user="alice"), at_ns)}

    assert of_each(NOW) == {"day": 8, "ever": 9, "7d": 10}
    assert of_each(day + DAY) == {"day": 5, "ever": 9, "7d": 10}
    assert of_each(NOW + 7 * DAY) == {"day": 5, "ever": 9, "7d": 7}
    assert of_each(day - 1) == {"day": 5, "ever": 6, "7d": 7}


def test_several_grants_add_up_and_are_swapped_with_the_rules_of_their_source() -> None:
    chosen = BudgetSet(["$5/day per user"])
    chosen.grant(grant(amount=1))
    chosen.replace("database", [], [grant(), grant(amount=2)])
    assert mosts(chosen, user="alice") == [11]
    assert len(chosen.grants) == 3
    chosen.replace("database", [])
    assert mosts(chosen, user="alice") == [6]


def test_a_grant_takes_a_budget_its_text_or_its_account() -> None:
    budget = Budget.parse("100 tokens/30d per user,team")
    payer = {"team": "red", "user": "alice"}
    one, two, three = (
        Grant(account, payer, 10, "tokens")  # type: ignore[arg-type]
        for account in (budget, "100 tokens/30d per user,team", budget.account)
    )
    assert one == two == three
    assert (one.payer, one.most) == ((("user", "alice"), ("team", "red")), 10)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"payer": {}}, "a grant for nobody does not go with an account per user"),
        ({"payer": {"team": "red"}}, "a grant for team does not go"),
        ({"unit": "tokens"}, "in tokens does not go with the account .* in usd"),
        ({"amount": 0}, "changes nothing"),
        ({"amount": 0.5}, "float"),
        ({"until_ns": NOW}, "is over when it begins"),
        ({"account": "five dollars"}, "cannot be read"),
        ({"account": "[1"}, "account '\\[1' cannot be read"),
        ({"account": '["moon","UTC",[],{}]'}, "'moon'"),
    ],
)
def test_a_wrong_grant_is_named(fields: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        grant(fields.pop("account", "$5/day per user"), **fields)


tags = st.dictionaries(st.sampled_from(["user", "plan", "region"]), st.sampled_from(["a", "b", "unattributed"]))


@settings(deadline=None)
@given(st.lists(tags, unique_by=lambda each: tuple(sorted(each.items())), max_size=8), tags)
def test_the_chosen_rule_matches_and_no_rule_that_matches_is_more_specific(
    fors: list[dict[str, str]], call: dict[str, str]
) -> None:
    rules = [
        Budget(limit=Decimal(place + 1), per=("user",), for_=tuple(each.items())) for place, each in enumerate(fors)
    ]
    chosen = BudgetSet()
    for source, some in (("code", rules[::2]), ("file", rules[1::2])):
        try:
            chosen.replace(source, some)
        except ConfigError:
            return
    limits = chosen.limits(Tags(call), NOW)
    matching = [rule for rule in rules if all(Tags(call).value(name) == value for name, value in rule.for_)]
    assert len(limits) == bool(matching)
    if limits:
        best = max(("user" in dict(rule.for_), len(rule.for_)) for rule in matching)
        tied = [rule for rule in matching if ("user" in dict(rule.for_), len(rule.for_)) == best]
        assert limits[0].budget == min(tied, key=rules.index)
