"""The options of a middleware are checked once, and wrong ones name the thing and the way out."""

from __future__ import annotations

from typing import Any

import pytest

from costguard.errors import ConfigError, StoreUnavailable
from costguard.tags import Frame, Tags
from costguard.web.asgi import CostGuardMiddleware as Asgi
from costguard.web.exchange import Exchange
from costguard.web.wsgi import CostGuardMiddleware as Wsgi
from tests.web.money import Till

SENT = {"x-user-id": "mallory", "x-team": "red"}


def tags(request: object = None, **options: Any) -> Tags:
    return Exchange(None, **options).ask(request, SENT.get)


def test_values_and_callables_and_nothing() -> None:
    assert tags("alice", user=lambda request: request, feature="chat") == Tags(user="alice", feature="chat")
    assert tags(user=lambda request: None) == Tags()
    assert tags() == Tags()


def test_further_tags_by_a_mapping_or_by_one_callable() -> None:
    assert tags("x", tags={"team": "red", "plan": lambda request: f"plan-{request}"}) == Tags(team="red", plan="plan-x")
    assert tags(user="alice", tags=lambda request: {"team": 7}) == Tags(user="alice", team="7")
    assert tags(tags=lambda request: None) == Tags()


def test_headers_are_never_read_unless_asked_for() -> None:
    assert tags(user=lambda request: None) == Tags()


def test_a_header_fills_in_only_what_nothing_else_gave() -> None:
    headers = {"user": "X-User-Id", "team": "x-team", "plan": "x-plan"}
    assert tags(headers=headers) == Tags(user="mallory", team="red")
    assert tags(user="alice", headers=headers) == Tags(user="alice", team="red")
    assert tags(user=lambda request: "bob", headers=headers) == Tags(user="bob", team="red")
    assert tags(user=lambda request: None, headers=headers) == Tags(user="mallory", team="red")


def test_a_callable_that_raises_names_the_tag_the_callable_and_the_cause() -> None:
    def current_user(request: object) -> str:
        return request.user.id  # type: ignore[attr-defined, no-any-return]

    with pytest.raises(ConfigError, match=r"current_user for tag 'user' raised AttributeError.*return None") as raised:
        tags(object(), user=current_user)
    assert isinstance(raised.value.__cause__, AttributeError)
    with pytest.raises(ConfigError, match=r"for tags raised ZeroDivisionError"):
        tags(tags=lambda request: 1 // 0)


def test_an_async_callable_where_nobody_can_wait_is_an_error() -> None:
    async def user(request: object) -> str:
        return "alice"

    with pytest.raises(ConfigError, match=r"'user' is async.*plain function"):
        tags(user=user)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"user": "alice", "tags": {"user": "bob"}}, "'user' is given twice"),
        ({"tags": "team"}, "tags='team'"),
        ({"tags": {"two words": "x"}}, "two words"),
        ({"headers": {"user": "x user"}}, "'x user'"),
        ({"headers": {"a-b": "x-user"}}, "'a-b'"),
        ({"headers": ["x-user"]}, "x-user"),
        ({"check": True}, "guard="),
    ],
)
@pytest.mark.parametrize("middleware", [Asgi, Wsgi])
def test_wrong_options_are_told_when_the_middleware_is_made(middleware: Any, options: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        middleware(lambda *_: None, **options)


def test_a_callable_for_tags_that_returns_no_mapping_is_an_error() -> None:
    with pytest.raises(ConfigError, match="returned 'red', a str"):
        tags(tags=lambda request: "red")


def test_the_cost_fields_tell_the_cost_and_the_tightest_budget() -> None:
    frame = Frame(Tags(user="alice"))
    frame.add(1_234_000)
    frame.add(2_000_000)
    fields = dict(Exchange(Till()).cost_fields(frame))
    assert fields["X-CostGuard-Cost"] == "0.003234"
    assert fields["X-CostGuard-Remaining"] == "0.02"
    assert 0 < int(fields["X-CostGuard-Reset"]) <= 86400
    assert "X-CostGuard-Unpriced" not in fields


def test_calls_without_a_price_are_told_beside_the_cost() -> None:
    frame = Frame()
    frame.add(None)
    assert Exchange(None).cost_fields(frame) == [("X-CostGuard-Cost", "0.00"), ("X-CostGuard-Unpriced", "1")]


def test_an_unreachable_store_does_not_spoil_a_good_response() -> None:
    class Unreachable(Till):
        def standings(self, **tags: object) -> Any:
            raise StoreUnavailable("down")

    assert Exchange(Unreachable()).cost_fields(Frame()) == [("X-CostGuard-Cost", "0.00")]


def test_hidden_amounts_hide_the_remainder() -> None:
    fields = dict(Exchange(Till(), amounts=False).cost_fields(Frame()))
    assert set(fields) == {"X-CostGuard-Cost", "X-CostGuard-Reset"}
