"""User ids that nobody is to read: not on a page, not in an address, not in JSON or CSV."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from costguard import Guard
from costguard.dashboard.hiding import Hiding
from costguard.events import Refused
from costguard.grants import Grant
from costguard.ledger.mutes import mute
from costguard.ledger.rules import add_grant, rules, set_budget
from tests.alerts.crossings import tell
from tests.dashboard.pages import EVERY_API, EVERY_PAGE, browser, dashboard, guard_with_calls, links_of, send, spend

RAW = "zoë.raw-id@example.test"
SECRET = "a secret that all processes share"
NAME = Hiding("hashed", ("user",), SECRET).show("user", RAW)
BOB = Hiding("hashed", ("user",), SECRET).show("user", "bob")
CSVS = (
    "overview.csv", "explore.csv?by=user", "calls.csv", "budgets.csv?table=standings", "budgets.csv?table=budgets",
    "budgets.csv?table=grants", "budgets.csv?table=history", "alerts.csv?table=alerts", "alerts.csv?table=mutes",
    "alerts.csv?table=preview&preview=24h", "prices.csv",
)  # fmt: skip


@pytest.fixture(params=["memory", "sqlite"])
def guard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Guard]:
    """The raw id is wherever one can be: calls, refusals, rules, grants, mutes, alerts, the audit."""
    store = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'costs.db'}"
    made = guard_with_calls(store, RAW, "bob", engine=None if request.param == "memory" else "direct")
    set_budget(made.ledger, f"$2/day per user for user={RAW}", "ann")
    add_grant(made.ledger, Grant("$5/day per user", (("user", RAW),), 3, author="ann", reason="x"))
    mute(made.ledger, budget=f"$2/day per user for user={RAW}", payer={"user": RAW}, until_ns=None, author="ann")
    tell(made.ledger, user=RAW)
    standing = next(each for each in made.standings(user=RAW) if each.budget.per == ("user",))
    from costguard.call import Call
    from costguard.tags import Tags

    refused = Refused(Call("openai", "gpt-4o", tags=Tags(user=RAW)), standing, False, standing.limit)
    made._emit(refused)
    yield made
    made.close()


def nowhere(text: str) -> bool:
    shapes = {RAW, quote(RAW), quote_plus(RAW), json.dumps(RAW)[1:-1], "raw-id"}
    return not any(shape in text for shape in shapes)


@pytest.mark.long
@pytest.mark.parametrize("users", ["hashed", "hidden"])
async def test_the_raw_id_is_nowhere(guard: Guard, users: str) -> None:
    app = dashboard(guard, users=users, secret=SECRET)
    seen: set[str] = set()
    async with browser(app) as client:
        todo = [str(client.base_url.join(path)) for path in (*EVERY_PAGE, *CSVS)]
        todo += [str(client.base_url.join(f"api/{name}")) for name in EVERY_API]
        while todo and len(seen) < 60:
            at = todo.pop(0)
            if at in seen:
                continue
            seen.add(at)
            answer = await client.get(at)
            assert answer.status_code in (200, 303), f"{at}: {answer.text[:500]}"
            assert nowhere(answer.text), at
            assert nowhere(str(answer.headers)), at
            if "html" in answer.headers.get("content-type", ""):
                links = links_of(answer.text, at)
                assert all(nowhere(link) for link in links)
                own = "http://costs.test/"
                todo += sorted(link for link in links if link.startswith(own) and "/static/" not in link)
    assert len(seen) > 40


async def test_one_user_can_be_followed_by_the_hash(guard: Guard) -> None:
    spend(guard, RAW, cents=25)
    app = dashboard(guard, users="hashed", secret=SECRET)
    async with browser(app) as client:
        rows = (await client.get("api/spend?by=user")).json()["rows"]
        assert {row["group"]["user"]: row["cost"] for row in rows} == {NAME: "1.25", BOB: "1.00"}
        of_one = (await client.get("api/spend", params={"where.user": NAME})).json()
        assert of_one["total"]["cost"] == "1.25"
        calls = (await client.get("api/calls", params={"where.user": NAME})).json()["calls"]
        assert [call["tags"]["user"] for call in calls] == [NAME, NAME]
        for path in (f"calls?where.user={NAME}", f"explore?where.user={NAME}", f"budgets?where.user={NAME}"):
            assert NAME in (await client.get(path)).text
        # The raw id chooses nothing: else it could be guessed.
        assert (await client.get("api/spend", params={"where.user": RAW})).json()["total"]["calls"] == 0


async def test_the_hash_is_the_same_in_every_process_and_says_nothing(guard: Guard) -> None:
    one, other = Hiding("hashed", ("user",), SECRET), Hiding("hashed", ("user",), SECRET + "!")
    assert one.show("user", RAW) == NAME
    assert other.show("user", RAW) != NAME
    assert one.show("user", "unattributed") == "unattributed"
    assert one.show("feature", "chat") == "chat"


async def test_somebody_hidden_is_granted_more_by_the_hash_or_by_name(guard: Guard) -> None:
    app = dashboard(guard, users="hashed", secret=SECRET)
    async with browser(app) as client:
        page = await client.get("budgets")
        card = next(card for card in page.text.split("<section") if "$5.00/day per user</bdi></a>" in card)
        key = card.split("budget=")[1].split('"')[0]
        for written in (NAME, "carol"):
            answer = await send(
                client, f"budgets?do=grant&budget={key}", "grant", **{"payer.user": written, "amount": "1"}
            )
            assert answer.status_code == 303, answer.text
            assert nowhere(answer.headers["location"])
    assert {dict(stored.payer)["user"] for stored in rules(guard.ledger).grants} == {RAW, "carol"}


async def test_hidden_users_are_one_group_and_cannot_be_told_apart(guard: Guard) -> None:
    async with browser(dashboard(guard, users="hidden")) as client:
        report = (await client.get("api/spend?by=user")).json()
        assert [(row["group"]["user"], row["cost"]) for row in report["rows"]] == [("hidden", "2.00")]
        assert (await client.get("api/spend?where.user=hidden")).json()["total"]["calls"] == 0
        assert (await client.get("api/spend", params={"where.user": "bob"})).json()["total"]["calls"] == 0


async def test_other_tags_can_be_private_too(guard: Guard) -> None:
    app = dashboard(guard, users="hashed", secret=SECRET, private=("user", "feature"))
    async with browser(app) as client:
        rows = (await client.get("api/spend?by=feature")).json()["rows"]
        assert rows[0]["group"]["feature"].startswith("feature-")
