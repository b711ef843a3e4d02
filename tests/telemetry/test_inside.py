"""A patch goes inside of what others wrapped with wrapt, and can be taken out whoever goes first."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest
import wrapt

from costguard.providers.patching import ClassPatch


class Base:
    def request(self, heard: list[str]) -> str:
        heard.append("request")
        return "answer"


Client = type[Base]


@pytest.fixture
def client() -> Client:
    """A class tree of its own for each test: a base, and the subclass that others patch."""
    base = type("SyncAPIClient", (Base,), {"request": Base.request})
    return type("OpenAI", (base,), {})


def named(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def request(self: Any, heard: list[str]) -> Any:
            heard.append(name)
            answer = original(self, heard)
            heard.append(f"end of {name}")
            return answer

        return request

    return wrap


def theirs(client: Client, name: str) -> None:
    """As an instrumentation does: on the subclass, around the inherited function."""

    def around(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
        args[0].append(name)
        answer = wrapped(*args, **kwargs)
        args[0].append(f"end of {name}")
        return answer

    wrapt.wrap_function_wrapper(client, "request", around)


def ours(client: Client) -> ClassPatch:
    return ClassPatch(client.__mro__[1], "request", named("ours"))


def heard_by(client: Client) -> list[str]:
    heard: list[str] = []
    assert client().request(heard) == "answer"
    return heard


def test_the_call_ends_for_us_before_it_does_for_them(client: Client) -> None:
    theirs(client, "theirs")
    patch = ours(client)
    patch.apply()
    inside = ["theirs", "ours", "request", "end of ours", "end of theirs"]
    assert heard_by(client) == inside
    patch.apply()
    assert heard_by(client) == inside, "again changes nothing"
    patch.undo()
    assert heard_by(client) == ["theirs", "request", "end of theirs"]


def test_of_several_it_goes_inside_of_the_innermost(client: Client) -> None:
    theirs(client, "first")
    theirs(client, "second")
    patch = ours(client)
    patch.apply()
    assert heard_by(client)[:4] == ["second", "first", "ours", "request"]
    patch.undo()
    assert "ours" not in heard_by(client)


def test_one_that_came_later_is_outside_and_is_left_alone(client: Client) -> None:
    patch = ours(client)
    patch.apply()
    theirs(client, "theirs")
    patch.apply()
    assert heard_by(client) == ["theirs", "ours", "request", "end of ours", "end of theirs"]


@pytest.mark.parametrize("again", [False, True])
def test_they_may_go_first(client: Client, again: bool) -> None:
    """They put back what they wrapped, which is ours by then."""
    theirs(client, "theirs")
    patch = ours(client)
    patch.apply()
    client.request = vars(client)["request"].__wrapped__  # type: ignore[method-assign]
    assert heard_by(client) == ["ours", "request", "end of ours"]
    if again:
        patch.apply()
        assert heard_by(client) == ["ours", "request", "end of ours"]
    patch.undo()
    assert heard_by(client) == ["request"]


def test_what_is_no_wrapper_of_wrapt_is_wrapped_from_outside(client: Client) -> None:
    client.request = named("theirs")(client.request)  # type: ignore[method-assign]
    patch = ours(client)
    patch.apply()
    assert heard_by(client)[:2] == ["ours", "theirs"]
    patch.undo()
    assert "ours" not in heard_by(client)
