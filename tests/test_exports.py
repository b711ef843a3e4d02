"""The public surface: about twenty names, each documented, the agreed ones with their agreed parameters."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import import_module

import pytest

import costguard
from costguard import Guard
from costguard.events import Entry
from costguard.ledger import base

FIXED = (
    "Guard", "Budget", "Usage", "tagged", "bind_tags", "current_tags", "instrument",
    "BudgetExceeded", "UnpricedModel", "StoreUnavailable", "slack",
)  # fmt: skip


def parameters(function: object) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", costguard.__all__)
def test_each_public_name_exists_and_says_what_it_is(name: str) -> None:
    value = getattr(costguard, name)
    if name.startswith("__"):
        assert isinstance(value, str)
    elif callable(value):
        assert inspect.getdoc(value), f"costguard.{name} has no docstring"
    assert name in dir(costguard)


def test_the_public_names_are_about_twenty_and_sorted_once() -> None:
    assert len(set(costguard.__all__)) == len(costguard.__all__)
    assert 12 <= len(costguard.__all__) <= 30


@pytest.mark.parametrize("name", FIXED)
def test_the_agreed_names_are_public(name: str) -> None:
    assert name in costguard.__all__


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Guardian"):
        _ = costguard.Guardian


def test_a_star_import_gives_the_public_names() -> None:
    program = "from costguard import *\nassert Guard and Budget and tagged and BudgetExceeded"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_guard_takes_what_was_agreed() -> None:
    signature = inspect.signature(Guard)
    assert parameters(Guard)[:7] == [
        "store", "budgets", "alerts", "prices", "holds", "on_store_failure", "on_unpriced",
    ]  # fmt: skip
    defaults = {name: signature.parameters[name].default for name in parameters(Guard)}
    assert defaults["holds"] == "learned"
    assert defaults["on_store_failure"] == "allow"
    assert defaults["on_unpriced"] == "allow"
    assert not defaults["budgets"]
    assert not defaults["alerts"]


@pytest.mark.parametrize(
    ("verb", "wanted"),
    [
        ("instrument", []),
        ("uninstrument", []),
        ("budget", ["per"]),
        ("feature", []),
        ("spent", ["since", "tags"]),
        ("standings", ["tags"]),
        ("entries", ["tags"]),
        ("price", ["provider", "model", "usage", "at", "context"]),
        ("flush", ["timeout"]),
        ("close", []),
        ("reserve", ["call"]),
        ("reserve_async", ["call"]),
        ("settle", ["call", "outcome"]),
        ("check", []),
    ],
)
def test_the_guards_verbs_take_what_was_agreed(verb: str, wanted: list[str]) -> None:
    method = getattr(Guard, verb)
    assert inspect.getdoc(method), f"Guard.{verb} has no docstring"
    assert set(wanted) <= set(parameters(method))


@pytest.mark.parametrize("module", ["costguard.web.asgi", "costguard.web.wsgi"])
def test_the_middleware_takes_what_was_agreed(module: str) -> None:
    middleware = import_module(module).CostGuardMiddleware
    assert parameters(middleware)[0] == "app"
    assert {"guard", "user", "feature", "environment", "tags"} <= set(parameters(middleware))


def test_the_frameworks_have_their_verbs() -> None:
    from costguard.web.fastapi import install
    from costguard.web.flask import CostGuard

    assert parameters(install)[:2] == ["app", "guard"]
    assert parameters(CostGuard)[:2] == ["app", "guard"]
    assert callable(CostGuard.init_app)


def test_a_client_is_instrumented_with_a_guard() -> None:
    assert parameters(costguard.instrument)[:2] == ["client", "guard"]


def test_an_entry_has_the_agreed_fields() -> None:
    fields = (
        "call_id", "at", "provider", "model", "usage", "cost", "currency", "status", "estimated", "streamed",
        "attempts", "tags", "receipt",
    )  # fmt: skip
    entry = Entry("018f0000-0000-7000-8000-000000000000", 0, "openai", "gpt-4o", "chat", nanos=1)
    assert [name for name in fields if not hasattr(entry, name)] == []


def test_every_verb_of_the_ledger_says_what_it_promises() -> None:
    verbs = [name for name, value in vars(base.Ledger).items() if inspect.isfunction(value) and name[0] != "_"]
    assert [name for name in verbs if not inspect.getdoc(getattr(base.Ledger, name))] == []
