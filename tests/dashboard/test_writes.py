"""What people change from the pages: only from our own forms, with an author and a reason, written down, once."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from costguard import Guard
from costguard.dashboard import Person
from costguard.ledger.mutes import mutes
from costguard.ledger.parcels import parcels
from costguard.ledger.rules import rules
from tests.alerts.crossings import tell
from tests.dashboard.pages import browser, dashboard, fields_of, guard_with_calls, operator, send

ORIGIN = {"origin": "http://costs.test"}


@pytest.fixture(params=["memory", "sqlite"])
def guard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Guard]:
    store = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'costs.db'}"
    made = guard_with_calls(store, engine=None if request.param == "memory" else "direct")
    yield made
    made.close()


def in_force(guard: Guard) -> list[str]:
    return [stored.rule for stored in rules(guard.ledger).budgets]


async def link_to(client: Any, what: str, rule: str) -> str:
    """Of a budget's card, as somebody finds it: by its words."""
    import re
    from html import unescape

    page = (await client.get("budgets")).text
    for card in page.split("<section")[1:]:
        if rule in unescape(card):
            for link, text in re.findall(r'<a href="([^"]*)">([^<]*)', card):
                if text.strip() == what:
                    return unescape(link)
    raise AssertionError(f"no {what!r} at {rule!r}")


async def test_a_budget_is_set_and_written_down(guard: Guard) -> None:
    async with browser(dashboard(guard, authorize=lambda _: Person("operator", "carol"))) as client:
        answer = await send(client, "budgets?do=set", "set", rule="$9/week per feature", author="mallory")
        assert answer.status_code == 303
        assert answer.headers["location"] == "./budgets?done=set"
        page = await client.get(answer.headers["location"])
        assert "The budget is set." in page.text
        assert "$9.00/week per feature" in page.text
    assert in_force(guard) == ["$9.00/week per feature"]
    (deed,) = guard.ledger.deeds()
    # The name that the app gave, whatever the form says.
    assert (deed.author, deed.action, deed.reason) == ("carol", "budget", "a new plan")
    assert deed.details["budget"] == "$9.00/week per feature"


async def test_a_limit_is_changed_and_what_was_spent_stays(guard: Guard) -> None:
    async with browser(dashboard(guard)) as client:
        path = "budgets" + await link_to(client, "Change limit", "$5.00/day per user")
        answer = await send(client, path, "set", limit="7.50")
        assert answer.status_code == 303, answer.text
        page = await client.get("budgets")
        assert "$7.50/day per user" in page.text
    assert in_force(guard) == ["$7.50/day per user"]
    standing = next(each for each in guard.standings(user="alice") if each.budget.per == ("user",))
    assert (standing.limit, standing.spent) == (Decimal("7.5"), Decimal(1))


async def test_a_budget_observes_is_enforced_and_is_removed(guard: Guard) -> None:
    async with browser(dashboard(guard)) as client:
        path = "budgets" + await link_to(client, "Only observe", "$500.00/month")
        assert (await send(client, path, "observe")).status_code == 303
        assert in_force(guard) == ["$500.00/month observe"]
        path = "budgets" + await link_to(client, "Enforce", "$500.00/month")
        assert (await send(client, path, "enforce")).status_code == 303
        assert in_force(guard) == ["$500.00/month"]
        path = "budgets" + await link_to(client, "Remove", "$500.00/month")
        answer = await send(client, path, "remove")
        assert answer.status_code == 303
        assert (await client.get(answer.headers["location"])).status_code == 200
    assert in_force(guard) == []
    assert [deed.action for deed in guard.ledger.deeds()] == ["remove budget", "enforce", "observe"]
    assert "$500/month" in [str(each.rule).replace(".00", "") for each in guard.budgets]


async def test_what_another_process_has_changed_a_moment_ago_is_not_undone_by_a_switch(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'costs.db'}"
    with (
        guard_with_calls(store, engine="direct") as here,
        Guard(store, budgets=["$500/month"], engine="direct") as there,
    ):
        async with browser(dashboard(here)) as one, browser(dashboard(there)) as other:
            link = await link_to(one, "Change limit", "$500.00/month")
            assert (await send(one, f"budgets{link}", "set", limit="900")).status_code == 303
            assert (await send(other, f"budgets{link.replace('limit', 'observe')}", "observe")).status_code == 303
        assert in_force(here) == ["$900.00/month observe"]


async def test_a_grant_is_given_and_taken_back(guard: Guard) -> None:
    async with browser(dashboard(guard)) as client:
        path = "budgets" + await link_to(client, "Grant", "$5.00/day per user")
        answer = await send(client, path, "grant", **{"payer.user": "alice", "amount": "2.50", "until": ""})
        assert answer.status_code == 303, answer.text
        (stored,) = rules(guard.ledger).grants
        assert (dict(stored.payer), stored.amount, stored.author, stored.reason) == (
            {"user": "alice"}, 2_500_000_000, "ann", "a new plan",
        )  # fmt: skip
        page = await client.get("budgets")
        assert "a new plan" in page.text
        answer = await send(client, f"budgets?do=take+back&number={stored.id}", "take back", reason="a mistake")
        assert answer.status_code == 303, answer.text
    assert rules(guard.ledger).grants == ()
    assert [(deed.action, deed.reason) for deed in guard.ledger.deeds()] == [
        ("take back grant", "a mistake"), ("grant", "a new plan"),
    ]  # fmt: skip


async def test_alerts_are_muted_unmuted_and_told_again(guard: Guard) -> None:
    tell(guard.ledger)
    (parcel,) = guard.ledger.claim(2**62, lease_ns=1)
    guard.ledger.give_up(parcel, 2**61, "channel: gone")
    async with browser(dashboard(guard)) as client:
        assert "channel: gone" in (await client.get("alerts")).text
        answer = await send(
            client, "alerts?do=mute", "mute", **{"budget": "$5.00/day per user", "payer": "user=alice", "for": "2h"}
        )
        assert answer.status_code == 303, answer.text
        (muted,) = mutes(guard.ledger)
        assert (muted.budget, dict(muted.payer), muted.author, muted.reason) == (
            "$5.00/day per user", {"user": "alice"}, "ann", "a new plan",
        )  # fmt: skip
        assert (await send(client, f"alerts?do=unmute&number={muted.id}", "unmute")).status_code == 303
        assert mutes(guard.ledger) == []
        (posted,) = parcels(guard.ledger, ("given up",))
        answer = await send(client, f"alerts?do=tell+again&number={posted.parcel.id}", "tell again")
        assert answer.status_code == 303, answer.text
        assert parcels(guard.ledger, ("given up",)) == []
    assert {deed.action for deed in guard.ledger.deeds()} == {"mute", "unmute", "tell again"}


async def test_a_form_that_is_sent_twice_is_done_once(guard: Guard) -> None:
    async with browser(dashboard(guard)) as client:
        path = "budgets" + await link_to(client, "Grant", "$5.00/day per user")
        page = await client.get(path)
        sent = {**fields_of(page.text, "grant"), "author": "ann", "reason": "once", "payer.user": "bob", "amount": "1"}
        answers = [await client.post(path, data=sent, headers=ORIGIN) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [303, 303, 303]
    assert "done=again" in answers[2].headers["location"]
    assert len(rules(guard.ledger).grants) == 1
    assert len(guard.ledger.deeds()) == 1


@pytest.mark.parametrize("missing", ["author", "reason", "nonce", "rule"])
async def test_what_is_missing_is_said_and_the_form_is_kept(guard: Guard, missing: str) -> None:
    async with browser(dashboard(guard)) as client:
        page = await client.get("budgets?do=set")
        sent = {**fields_of(page.text, "set"), "author": "ann", "reason": "<b>why</b>", "rule": "$3/day", missing: " "}
        answer = await client.post("budgets?do=set", data=sent, headers=ORIGIN)
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    if missing != "reason":
        assert "&lt;b&gt;why&lt;/b&gt;" in answer.text
    assert not guard.ledger.deeds()
    assert in_force(guard) == []


@pytest.mark.parametrize("rule", ["five dollars", "$0/day", "$5/day per user per user", "$5/day\x00", "<script>"])
async def test_a_rule_that_cannot_be_read_changes_nothing(guard: Guard, rule: str) -> None:
    async with browser(dashboard(guard)) as client:
        answer = await send(client, "budgets?do=set", "set", rule=rule)
    assert answer.status_code == 422
    assert "<script>alert" not in answer.text
    assert not guard.ledger.deeds()


class TestForgery:
    @pytest.fixture
    def guard(self) -> Iterator[Guard]:
        made = guard_with_calls()
        yield made
        made.close()

    async def post(self, guard: Guard, *, fields: dict[str, str] | None = None, **options: Any) -> int:
        """A whole form, with some of it changed."""
        async with browser(dashboard(guard, **options.pop("dashboard", {}))) as client:
            page = await client.get("budgets?do=set")
            sent = {**fields_of(page.text, "set"), "author": "a", "reason": "b", "rule": "$1/day", **(fields or {})}
            if options.pop("without_cookies", False):
                client.cookies.clear()
            return (await client.post("budgets?do=set", data=sent, headers=options.get("headers", ORIGIN))).status_code

    async def test_the_form_of_a_page_is_taken(self, guard: Guard) -> None:
        assert await self.post(guard) == 303
        assert await self.post(guard, headers={"sec-fetch-site": "same-origin"}) == 303

    @pytest.mark.parametrize("token", ["", "0" * 64, "ü"])
    async def test_a_form_without_its_token_is_refused(self, guard: Guard, token: str) -> None:
        assert await self.post(guard, fields={"csrf": token}) == 403
        assert not guard.ledger.deeds()

    async def test_a_form_without_the_cookie_is_refused(self, guard: Guard) -> None:
        assert await self.post(guard, without_cookies=True) == 403

    @pytest.mark.parametrize(
        "headers",
        [
            {}, {"origin": "null"}, {"origin": "http://evil.test"}, {"origin": "http://costs.test.evil.test"},
            {"origin": "http://costs.test:81"}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"},
            {"sec-fetch-site": "cross-site", "origin": "http://costs.test"},
        ],
    )  # fmt: skip
    async def test_a_form_from_elsewhere_is_refused(self, guard: Guard, headers: dict[str, str]) -> None:
        assert await self.post(guard, headers=headers) == 403
        assert not guard.ledger.deeds()

    async def test_the_address_that_people_see_can_be_given(self, guard: Guard) -> None:
        seen = {"origin": "https://admin.example.com"}
        assert await self.post(guard, headers=seen) == 403
        assert await self.post(guard, headers=seen, dashboard={"origins": ["https://admin.example.com:443/"]}) == 303

    async def test_the_token_is_of_one_person(self, guard: Guard) -> None:
        app = dashboard(guard, authorize=lambda request: Person("operator", request.headers["x-user"]))
        async with browser(app) as client:
            page = await client.get("budgets?do=set", headers={"x-user": "ann"})
            sent = {**fields_of(page.text, "set"), "reason": "b", "rule": "$1/day"}
            answer = await client.post("budgets", data=sent, headers={**ORIGIN, "x-user": "bob"})
            assert answer.status_code == 403
            assert (await client.post("budgets", data=sent, headers={**ORIGIN, "x-user": "ann"})).status_code == 303

    async def test_the_token_of_one_process_is_good_in_another(self, guard: Guard) -> None:
        here, there = dashboard(guard), dashboard(guard)
        async with browser(here) as client:
            page = await client.get("budgets?do=set")
            cookies = dict(client.cookies)
        sent = {**fields_of(page.text, "set"), "author": "a", "reason": "b", "rule": "$1/day"}
        async with browser(there) as client:
            client.cookies.update(cookies)
            assert (await client.post("budgets", data=sent, headers=ORIGIN)).status_code == 303

    async def test_the_cookie_is_out_of_reach(self, guard: Guard) -> None:
        async with browser(dashboard(guard)) as client:
            cookie = (await client.get("/")).headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        async with browser(dashboard(guard), "https://costs.test/") as client:
            cookie = (await client.get("/")).headers["set-cookie"]
        assert cookie.startswith("__Host-")
        assert "secure" in cookie.lower()

    async def test_nothing_is_done_by_get_or_with_what_is_no_form(self, guard: Guard) -> None:
        async with browser(dashboard(guard, authorize=operator)) as client:
            assert (await client.get("budgets?do=remove&number=1&reason=x&author=y")).status_code == 200
            assert (await client.post("budgets", content=b"\xff\xfe", headers=ORIGIN)).status_code == 400
            assert (await client.post("budgets", content=b"a=" + b"b" * 70_000, headers=ORIGIN)).status_code == 400
            assert (await client.post("calls", data={"do": "set"}, headers=ORIGIN)).status_code == 405
        assert not guard.ledger.deeds()
