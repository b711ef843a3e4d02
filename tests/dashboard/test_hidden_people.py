"""Somebody who is hidden can be acted on, and not be found out: by addresses, forms, previews, messages or errors."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from costguard import Guard
from costguard.adjustment import Adjustment
from costguard.budgets import Budget
from costguard.dashboard.hiding import Hiding
from costguard.ledger.deeds import Deed
from costguard.ledger.mutes import mutes
from costguard.ledger.parcels import parcels
from costguard.ledger.rules import rules
from costguard.pricing.book import Rates
from tests.alerts.crossings import record, tell
from tests.dashboard.pages import BUDGETS, browser, dashboard, guard_with_calls, send

SECRET = "a secret that all processes share"
HASHES = Hiding("hashed", ("user",), SECRET)
ALICE = HASHES.show("user", "alice")
HERS = "$200.00/day per user for user=alice"


@pytest.fixture(params=["memory", "sqlite"])
def guard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Guard]:
    store = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'costs.db'}"
    made = guard_with_calls(store, budgets=[*BUDGETS, HERS], engine=None if request.param == "memory" else "direct")
    yield made
    made.close()


def hashed(guard: Guard, **options: Any) -> Any:
    return dashboard(guard, users="hashed", secret=SECRET, **options)


async def card_of(client: Any, rule: str) -> str:
    for card in (await client.get("budgets")).text.split("<section")[1:]:
        if rule in card:
            return card
    raise AssertionError(rule)


async def key_of(client: Any, rule: str) -> str:
    found = re.search(r"budget=([0-9a-f]{12})", await card_of(client, rule))
    assert found is not None
    return found[1]


async def test_the_address_of_a_budget_cannot_be_tried_out_with_names(guard: Guard) -> None:
    guess = Hiding("hidden").key(Budget.parse(HERS))
    other = dashboard(guard, users="hidden")
    async with browser(dashboard(guard, users="hidden")) as client:
        key = await key_of(client, "for user=hidden")
        assert key != guess
        assert key != Hiding("shown").key(Budget.parse(HERS))
        # Those that name nobody have one address in all processes; with a secret all do.
        everybody = await key_of(client, "per user</bdi>")
        assert everybody == Hiding("hidden").key(Budget.parse(BUDGETS[0]))
    async with browser(other) as client:
        assert await key_of(client, "for user=hidden") != key
    for _ in range(2):
        async with browser(dashboard(guard, users="hidden", secret=SECRET)) as client:
            assert await key_of(client, "for user=hidden") == Hiding("hidden", secret=SECRET).key(Budget.parse(HERS))


async def test_what_stands_for_somebody_is_never_taken_for_a_name(guard: Guard) -> None:
    nobody = HASHES.show("user", "whom nobody knows")
    for app, written in ((hashed(guard), nobody), (dashboard(guard, users="hidden"), "hidden")):
        async with browser(app) as client:
            key = await key_of(client, "per user</bdi>")
            path = f"budgets?do=grant&budget={key}"
            answer = await send(client, path, "grant", **{"payer.user": written, "amount": "1"})
            assert answer.status_code == 422
            assert "write the value itself" in answer.text
            for sent in ({"payer": f"user={written}"}, {"budget": f"$200/day per user for user={written}"}):
                assert (await send(client, "alerts?do=mute", "mute", **sent)).status_code == 422
            answer = await send(client, "budgets?do=set", "set", rule=f"$3/day per user for user={written}")
            assert answer.status_code == 422
    assert not guard.ledger.deeds()
    assert rules(guard.ledger).budgets == ()


async def test_who_was_granted_something_before_the_first_call_is_known_by_the_hash(guard: Guard) -> None:
    async with browser(hashed(guard)) as client:
        path = f"budgets?do=grant&budget={await key_of(client, 'per user</bdi>')}"
        assert (await send(client, path, "grant", **{"payer.user": "dave", "amount": "1"})).status_code == 303
        dave = HASHES.show("user", "dave")
        assert dave in (await client.get(f"budgets?where.user={dave}")).text
    async with browser(hashed(guard)) as client:
        assert (await send(client, path, "grant", **{"payer.user": dave, "amount": "2"})).status_code == 303
    assert [dict(one.payer) for one in rules(guard.ledger).grants] == [{"user": "dave"}] * 2


async def test_a_budget_of_somebody_hidden_is_muted_from_its_alert(guard: Guard) -> None:
    tell(guard.ledger, user="alice", budget=HERS)
    async with browser(hashed(guard)) as client:
        page = (await client.get("alerts")).text
        (link,) = re.findall(r'<a href="([^"]*)">Mute<span', page)
        assert "alice" not in link
        at = "alerts" + unescape(link)
        form = (await client.get(at)).text
        sent = dict(re.findall(r'<input name="(budget|payer)"[^>]* value="([^"]*)"', form))
        assert (await send(client, at, "mute", kind="budget", **sent)).status_code == 303
    (muted,) = mutes(guard.ledger)
    assert (muted.budget, dict(muted.payer)) == (HERS, {"user": "alice"})
    (posted,) = parcels(guard.ledger)
    assert muted.covers(posted.parcel.payload)


async def test_where_all_look_the_same_no_form_is_filled_in_with_it(guard: Guard) -> None:
    tell(guard.ledger, user="alice")
    async with browser(dashboard(guard, users="hidden")) as client:
        page = (await client.get("alerts")).text
        assert "payer=user" not in page
        key = await key_of(client, "per user</bdi>")
        form = (await client.get(f"budgets?budget={key}&where.user=hidden&do=grant")).text
        assert 'value="hidden"' not in form


async def test_a_preview_cannot_be_asked_about_a_name(guard: Guard) -> None:
    record(guard.ledger, "1.00", user="alice", at_ns=time.time_ns() - 1800 * 10**9)

    async def sent(client: Any, user: str) -> str:
        asked = {"preview": "24h", "rules": f"call over $0.01 where user={user}"}
        page = (await client.get("alerts", params=asked)).text
        found = re.search(r">(\d+) alerts? would have been sent", page)
        assert found is not None
        return found[1]

    async with browser(dashboard(guard)) as client:
        assert await sent(client, "alice") == "1"
    async with browser(hashed(guard)) as client:
        assert await sent(client, "alice") == "0"
        assert await sent(client, ALICE) == "1"


async def test_rules_that_contradict_each_other_are_not_named(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'costs.db'}"
    guard_with_calls(url, engine="direct").close()
    from costguard.ledger.opening import open_ledger
    from costguard.ledger.rules import _book

    ledger = open_ledger(url)
    _book(ledger).put("a rule of a newer version", "$5/eon per user for user=alice", "ann", 1)
    for app, named in ((dashboard(ledger), True), (hashed(ledger), False)):
        async with browser(app) as client:
            answer = await client.get("budgets")
            assert answer.status_code == 400
            assert ("alice" in answer.text) is named
            answer = await client.get("api/at_risk")
            assert ("alice" in answer.text) is named
            # And so when something is changed.
            page = await client.get("alerts?do=mute")
            assert page.status_code == 200
            csrf = re.findall(r'name="csrf" value="([0-9a-f]+)"', page.text)[0]
            sent = {"csrf": csrf, "nonce": "n" * 32, "do": "set", "rule": "$1/day", "author": "a", "reason": "b"}
            answer = await client.post("budgets", data=sent, headers={"origin": "http://costs.test"})
            assert answer.status_code == 400
            assert ("alice" in answer.text) is named
    ledger.close()


@pytest.mark.parametrize("users", ["shown", "hashed", "hidden"])
async def test_the_link_of_a_message_leads_to_its_budget_and_payer(guard: Guard, users: str) -> None:
    tell(guard.ledger, user="alice", budget=HERS)
    (posted,) = parcels(guard.ledger)
    async with browser(dashboard(guard, users=users, secret=SECRET)) as client:
        answer = await client.get(f"alerts/{posted.parcel.id}")
        assert answer.status_code == 303
        location = answer.headers["location"]
        assert ("alice" in location) is (users == "shown")
        assert (ALICE in location) is (users == "hashed")
        page = await client.get(f"alerts/../{location.removeprefix('../')}")
        assert page.status_code == 200
        assert "per user" in page.text
        for wrong in ("999", "x", "0", "-1", "9" * 30, "1%2f..", "²"):
            assert (await client.get(f"alerts/{wrong}")).status_code == 404, wrong
    async with browser(dashboard(guard, authorize=lambda _: None)) as client:
        assert (await client.get(f"alerts/{posted.parcel.id}")).status_code == 403


@pytest.mark.parametrize("users", ["shown", "hashed", "hidden"])
async def test_the_receipt_of_somebody_hidden_has_its_corrections(guard: Guard, users: str) -> None:
    (entry,) = guard.ledger.entries({"user": "alice"})
    now = time.time_ns()
    rates = Rates("openai", "gpt-4o", "2026-11-22", {"input": 10, "output": 40})
    correction = Adjustment.of(entry, 0, 25 * 10**7, rates, first_price=False, reason="a new list")
    guard.ledger.adjust([correction], Deed("n" * 32, now, "ann", "reprice", "a new list"))
    async with browser(dashboard(guard, users=users, secret=SECRET)) as client:
        told = (await client.get(f"api/call?id={entry.call_id}")).json()
        assert (told["cost"], len(told["corrections"])) == ("1.25", 1)
        page = await client.get(f"calls/{entry.call_id}")
        assert "$1.25" in page.text
        found = await client.get(f"calls?id={entry.call_id}")
        assert "$1.25" in found.text
    for text in (str(told), page.text, found.text):
        assert ("alice" in text) is (users == "shown")


async def test_a_chart_of_everybody_hidden_beside_calls_of_nobody_adds_up(guard: Guard) -> None:
    record(guard.ledger, "7.00", user=None, at_ns=time.time_ns())
    record(guard.ledger, "9.00", user="carol", at_ns=time.time_ns())
    async with browser(dashboard(guard, users="hidden")) as client:
        told = (await client.get("api/series?by=user&most=1&since=7d")).json()
    assert [(line["group"], line["total"]["cost"]) for line in told["lines"]] == [
        ({"user": "hidden"}, "11.00"), (None, "7.00"),
    ]  # fmt: skip


async def test_no_link_chooses_everybody_hidden_and_then_shows_nobody(guard: Guard) -> None:
    (entry,) = guard.ledger.entries({"user": "alice"})
    async with browser(dashboard(guard, users="hidden")) as client:
        for path in ("", "explore?by=user", "explore?by=user,model", "calls", f"calls/{entry.call_id}", "budgets"):
            page = (await client.get(path)).text
            assert "hidden" in page, path
            assert "where.user=hidden" not in page, path
        (risk, *_) = re.findall(r'<a class="" href="([^"]*)"><bdi class="cut">hidden', (await client.get("")).text)
        assert "$1.00" in (await client.get(unescape(risk))).text


@pytest.mark.parametrize("users", ["hashed", "hidden"])
async def test_a_name_that_chooses_nobody_has_no_standing(guard: Guard, users: str) -> None:
    async with browser(dashboard(guard, users=users, secret=SECRET)) as client:
        page = (await client.get("budgets?where.user=bob")).text
        assert "No budget counts" in page
        assert "of $5.00" not in page
