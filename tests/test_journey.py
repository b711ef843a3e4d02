"""The whole way, per framework: an HTTP request in, a call to a provider, an entry in the ledger, and then the 429.

Real servers (uvicorn, waitress), real SDKs, a local provider whose every answer costs $0.10.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets.exceptions
from examples.provider import Provider
from websockets.sync.client import connect

from costguard import Entry, Guard
from tests import journey_apps as apps

TEN_CENTS = Decimal("0.10")
LIMIT = Decimal("0.38")
FITTING = 3
"""Calls that fit, whatever was learned of such calls before: a learned hold is widened while the sample is small."""

FRAMEWORKS = ("fastapi-async", "fastapi-sync", "starlette", "flask")
WITH_WEBSOCKETS = ("fastapi-async", "starlette")

numbers = count()


def ten_cents(body: dict[str, Any]) -> tuple[int, int, str]:
    """gpt-4o: 20,000 x $2.50/M + 5,000 x $10/M. claude-haiku-4-5: 50,000 x $1/M + 10,000 x $5/M."""
    tokens = (50_000, 10_000) if body["model"] == apps.ANTHROPIC else (20_000, 5_000)
    return (*tokens, "ten cents of text")


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider(reply=ten_cents) as provider:
        yield provider


@pytest.fixture(scope="module")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guard]:
    path: Path = tmp_path_factory.mktemp("journey") / "costs.db"
    with Guard(f"sqlite:///{path}", budgets=[f"${LIMIT}/day per user"]) as guard:
        guard.instrument()
        yield guard


@pytest.fixture(scope="module")
def servers(guard: Guard, provider: Provider) -> Iterator[dict[str, str]]:
    def asker() -> apps.Asker:
        return apps.Asker(provider)  # one per server: an async client belongs to one event loop

    with ExitStack() as stack:
        yield {
            "fastapi-async": stack.enter_context(apps.asgi_server(apps.fastapi_app(guard, asker(), sync=False))),
            "fastapi-sync": stack.enter_context(apps.asgi_server(apps.fastapi_app(guard, asker(), sync=True))),
            "starlette": stack.enter_context(apps.asgi_server(apps.starlette_app(guard, asker()))),
            "flask": stack.enter_context(apps.wsgi_server(apps.flask_app(guard, asker()))),
        }


@pytest.fixture(params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def user() -> str:
    """A new payer, so that tests do not share a budget."""
    return f"user-{next(numbers)}"


@pytest.fixture
def client(framework: str, servers: dict[str, str], user: str) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=servers[framework], headers={"x-signed-in": user}, trust_env=False, timeout=60
    ) as client:
        yield client


def template(framework: str) -> str:
    return "/teams/<team>/ask" if framework == "flask" else "/teams/{team}/ask"


def assert_a_clean_429(answer: httpx.Response, user: str) -> None:
    assert answer.status_code == 429, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["x-should-retry"] == "false"
    assert "ratelimit" in answer.headers
    problem = answer.json()
    assert problem["status"] == 429
    assert problem["budget"]
    assert problem["resets_at"]
    assert user in problem["detail"]
    spent, held, remaining = (Decimal(problem[name].lstrip("$")) for name in ("spent", "held", "remaining"))
    assert spent + held + remaining == Decimal(problem["limit"].lstrip("$"))


@pytest.mark.parametrize("kind", ["plain", "streamed"])
@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
def test_from_the_request_to_the_ledger_and_the_429(
    client: httpx.Client, framework: str, sdk: str, kind: str, user: str, guard: Guard, provider: Provider
) -> None:
    url = f"/teams/red/ask?sdk={sdk}" + ("&stream=1" if kind == "streamed" else "")
    before = len(provider.paths)
    answers = [client.post(url) for _ in range(FITTING + 1)]

    assert [answer.status_code for answer in answers] == [*FITTING * [200], 429]
    assert_a_clean_429(answers[-1], user)
    assert len(provider.paths) == before + FITTING, "the refused call went to the provider"

    entries = guard.entries(user=user)
    assert len(entries) == FITTING
    for entry in entries:
        assert entry.tags == {
            "user": user, "feature": "ask", "environment": "test", "route": template(framework), "team": "red",
        }  # fmt: skip
        assert entry.cost == TEN_CENTS
        assert (entry.provider, entry.streamed, entry.estimated) == (sdk, kind == "streamed", False)
        assert entry.status == "ok"
    assert guard.spent(user=user) == FITTING * TEN_CENTS <= LIMIT
    [standing] = guard.standings(user=user)
    assert (standing.spent, standing.held, standing.remaining) == (
        FITTING * TEN_CENTS, 0, LIMIT - FITTING * TEN_CENTS,
    )  # fmt: skip


def test_the_response_tells_what_the_request_cost(client: httpx.Client) -> None:
    answer = client.post("/teams/red/ask?sdk=openai")
    assert Decimal(answer.headers["x-costguard-cost"]) == TEN_CENTS
    assert Decimal(answer.headers["x-costguard-remaining"]) == LIMIT - TEN_CENTS
    assert int(answer.headers["x-costguard-reset"]) > 0


def test_a_streamed_answer_comes_through_whole(client: httpx.Client) -> None:
    with client.stream("POST", "/teams/red/ask?sdk=openai&stream=1") as answer:
        events = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    texts = [choice["delta"]["content"] for event in events for choice in json.loads(event)["choices"]]
    assert "".join(text or "" for text in texts) == "ten cents of text"


def test_a_route_budget_is_a_budget_like_any_other(
    client: httpx.Client, framework: str, user: str, guard: Guard
) -> None:
    answers = [client.post("/summaries") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert_a_clean_429(answers[1], user)
    assert "/summaries" in answers[1].json()["budget"]
    assert "$0.15/day per user where route=/summaries" in map(str, guard.budgets)
    assert client.post("/teams/red/ask?sdk=openai").status_code == 200, "the user's own budget has money left"
    assert {str(standing.budget) for standing in guard.standings(user=user, route="/summaries")} == {
        "$0.38/day per user", "$0.15/day per user where route=/summaries",
    }  # fmt: skip
    assert {entry.tags.route for entry in guard.entries(user=user)} == {"/summaries", template(framework)}


def test_a_later_call_refused_in_a_started_event_stream_is_a_typed_event(
    client: httpx.Client, user: str, guard: Guard
) -> None:
    answer = client.post("/agent")
    assert answer.status_code == 200
    *steps, last = [event for event in answer.text.split("\n\n") if event]
    assert steps == [f"data: step {number}" for number in range(FITTING)]
    kind, data = last.split("\n", 1)
    assert kind == "event: error"
    problem = json.loads(data.removeprefix("data: "))
    assert problem["status"] == 429
    assert user in problem["detail"]
    assert guard.spent(user=user) == FITTING * TEN_CENTS


@pytest.mark.parametrize("framework", WITH_WEBSOCKETS)
def test_a_websocket_over_budget_is_closed_with_1008_and_the_reason(
    framework: str, servers: dict[str, str], user: str, guard: Guard
) -> None:
    url = servers[framework].replace("http://", "ws://") + "/chat"
    with connect(url, additional_headers={"x-signed-in": user}, proxy=None) as socket:
        for _ in range(FITTING):
            socket.send("hello")
            assert str(socket.recv(timeout=30)).startswith("msg_")
        socket.send("hello")
        with pytest.raises(websockets.exceptions.ConnectionClosed) as closed:
            socket.recv(timeout=30)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008
    assert user in closed.value.rcvd.reason
    entries: list[Entry] = guard.entries(user=user, feature="chat")
    assert len(entries) == FITTING


def test_one_users_budget_is_not_anothers(framework: str, servers: dict[str, str]) -> None:
    with httpx.Client(base_url=servers[framework], trust_env=False, timeout=60) as client:
        rich, poor = f"user-{next(numbers)}", f"user-{next(numbers)}"
        for _ in range(FITTING):
            client.post("/teams/red/ask?sdk=openai", headers={"x-signed-in": poor})
        answers = {
            name: client.post("/teams/red/ask?sdk=openai", headers={"x-signed-in": name}) for name in (poor, rich)
        }
        assert {name: answer.status_code for name, answer in answers.items()} == {poor: 429, rich: 200}


def test_a_visitor_without_a_user_has_a_budget_too(servers: dict[str, str], guard: Guard) -> None:
    """Nobody is never unlimited: such calls share the payer `unattributed`."""
    with httpx.Client(base_url=servers["starlette"], trust_env=False, timeout=60) as client:
        statuses = [client.post("/teams/red/ask?sdk=openai").status_code for _ in range(FITTING + 1)]
    assert statuses == [*FITTING * [200], 429]
    assert guard.spent(user="unattributed") == FITTING * TEN_CENTS
