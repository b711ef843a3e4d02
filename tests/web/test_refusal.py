"""A refusal becomes one plain response, whatever it was wrapped in."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costguard.budgets import Budget
from costguard.errors import BudgetExceeded, StoreUnavailable, UnpricedModel
from costguard.tags import Tags
from costguard.web.refusal import find_refusal, refusal
from tests.web.money import over_budget, standing


def problem(error: Any, *, amounts: bool = True) -> tuple[int, dict[str, str], dict[str, Any]]:
    response = refusal(error, amounts=amounts)
    headers = dict(response.headers)
    assert headers["Content-Type"] == "application/problem+json"
    assert int(headers["Content-Length"]) == len(response.body)
    assert headers["Cache-Control"] == "no-store"
    body = json.loads(response.body)
    assert body["status"] == response.status
    return response.status, headers, body


def test_an_exceeded_budget_is_a_429_that_names_the_thing_the_numbers_and_the_reset() -> None:
    status, headers, body = problem(over_budget())
    assert status == 429
    assert body["budget"] == "$5.00/day per user"
    assert (body["scope"], body["payer"]) == ("user", "user=alice")
    assert (body["limit"], body["spent"], body["held"], body["remaining"]) == ("5.00", "4.98", "0.00", "0.02")
    assert body["detail"].startswith("user=alice has spent $4.98 of $5.00")
    datetime.fromisoformat(body["resets_at"])
    assert body["type"].endswith("#quota-exceeded")
    assert body["violated-policies"] == [body["budget"]]
    assert headers["Retry-After"] == "3600"
    assert headers["x-should-retry"] == "false"
    assert headers["RateLimit"] == '"$5.00/day per user";r=20000;t=3600'
    assert headers["RateLimit-Policy"] == '"$5.00/day per user";q=5000000;qu="micro-usd";w=86400'


def test_money_that_is_only_held_may_be_asked_for_again_soon() -> None:
    _, headers, body = problem(over_budget(busy=True))
    assert headers["Retry-After"] == "2"
    assert "x-should-retry" not in headers
    assert body["held"] == "0.02"


@pytest.mark.parametrize("rule", ["$7.25/day per user", "$7.25/ever", "$7.25/month where user=alice"])
@pytest.mark.parametrize("busy", [True, False])
def test_amounts_can_be_hidden_everywhere(rule: str, busy: bool) -> None:
    where = standing(rule, spent="6.42", held="0.81")
    response = refusal(BudgetExceeded(str(where), standing=where, retry_after=60, busy=busy), amounts=False)
    said = response.body.decode() + repr(response.headers) + response.close_reason
    for number in ("7.25", "6.42", "0.81", "0.02", "7250000", "20000"):
        assert number not in said
    assert not {"limit", "spent", "held", "remaining"} & set(json.loads(response.body))


def test_a_named_budget_is_called_by_its_name() -> None:
    named = Budget(limit="5", per=("user",), name='the "free" plan')  # type: ignore[arg-type]
    where = named.limit_for(Tags(user="alice"), 0).standing(5 * 10**9, 0)
    _, headers, body = problem(BudgetExceeded("x", standing=where, retry_after=5), amounts=False)
    assert body["budget"] == 'the "free" plan'
    assert headers["RateLimit"] == r'"the \"free\" plan";r=0;t=5'


def test_nothing_in_the_name_of_a_budget_ends_a_header() -> None:
    named = Budget(limit="5", name='a\r\nSet-Cookie: b\x7f "é"')  # type: ignore[arg-type]
    where = named.limit_for(Tags(), 0).standing(5 * 10**9, 0)
    _, headers, _ = problem(BudgetExceeded("x", standing=where, retry_after=5))
    assert headers["RateLimit"] == r'"a??Set-Cookie: b? \"?\"";r=0;t=5'


@pytest.mark.parametrize("unit", ["tokens", "calls"])
def test_tokens_and_calls_are_told_as_they_are(unit: str) -> None:
    limit = Budget.parse(f"5000 {unit}/24h per user").limit_for(Tags(user="alice"), 0)
    error = BudgetExceeded("", standing=limit.standing(4000, 900), retry_after=60)
    _, headers, body = problem(error)
    told = {name: body[name] for name in ("limit", "spent", "held", "remaining", "unit")}
    assert told == {"limit": "5000", "spent": "4000", "held": "900", "remaining": "100", "unit": unit}
    assert headers["RateLimit"].endswith(";r=100;t=60")
    assert headers["RateLimit-Policy"].endswith(f';q=5000;qu="{unit}";w=86400')


def test_a_budget_that_never_resets_says_null() -> None:
    _, headers, body = problem(over_budget("$5/ever"))
    assert body["resets_at"] is None
    assert body["scope"] == ""
    assert ";w=" not in headers["RateLimit-Policy"]


def test_a_model_without_a_price_is_a_422_that_names_it() -> None:
    status, headers, body = problem(UnpricedModel("secret advice", provider="openai", model="gpt-9"))
    assert status == 422
    assert (body["provider"], body["model"]) == ("openai", "gpt-9")
    assert headers["x-should-retry"] == "false"


def test_an_unreachable_store_is_a_503_that_does_not_name_the_store() -> None:
    status, headers, body = problem(StoreUnavailable("postgresql://u:secret@db is down", retry_after=7))
    assert status == 503
    assert headers["Retry-After"] == "7"
    assert "secret" not in json.dumps(body)


@given(st.text(max_size=200))
def test_a_close_reason_fits_a_control_frame_and_headers_are_latin(user: str) -> None:
    response = refusal(over_budget(user=user))
    assert len(response.close_reason.encode()) <= 123
    for name, value in response.headers:
        (name + value).encode("latin-1")
        assert "\n" not in value
        assert "\r" not in value


def test_the_event_is_one_typed_event_of_the_same_problem() -> None:
    response = refusal(over_budget())
    event, data = response.event.decode().strip("\n").split("\n")
    assert event == "event: error"
    assert json.loads(data.removeprefix("data: ")) == json.loads(response.body)
    assert response.event.endswith(b"\n\n")


def wrapped_as_cause(error: Exception) -> Exception:
    try:
        raise ValueError("wrapped") from error
    except ValueError as wrapper:
        return wrapper


def wrapped_as_context(error: Exception) -> Exception:
    try:
        try:
            raise error
        except Exception:
            raise KeyError("while handling")  # noqa: B904 - the context is the point
    except KeyError as wrapper:
        return wrapper


def grouped(error: Exception) -> Exception:
    return ExceptionGroup("tasks", [ValueError("other"), ExceptionGroup("inner", [error])])


@pytest.mark.parametrize("wrap", [lambda error: error, wrapped_as_cause, wrapped_as_context, grouped])
@pytest.mark.parametrize("again", [lambda error: error, wrapped_as_cause, wrapped_as_context, grouped])
def test_a_refusal_is_found_through_causes_contexts_and_groups(wrap: Any, again: Any) -> None:
    error = over_budget()
    assert find_refusal(again(wrap(error))) is error


def test_other_errors_are_no_refusals_also_in_circles() -> None:
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    assert find_refusal(first) is None
    assert find_refusal(grouped(ZeroDivisionError())) is None


def test_a_refusal_that_the_app_took_out_of_the_chain_stays_out() -> None:
    try:
        try:
            raise over_budget()
        except BudgetExceeded:
            raise ValueError("on purpose") from None
    except ValueError as error:
        assert find_refusal(error) is None
