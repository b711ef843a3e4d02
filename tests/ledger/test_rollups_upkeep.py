"""Rollups that are filled, rebuilt and forgotten, and what is read from them."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine

from costguard.call import Call, new_call_id
from costguard.errors import ConfigError
from costguard.events import Entry
from costguard.ledger import migrate
from costguard.ledger.base import Lease, Ledger
from costguard.ledger.buckets import BORDERS, bucket, number_of, percentile
from costguard.ledger.figures import Order
from costguard.ledger.opening import open_ledger
from costguard.ledger.rollups_upkeep import audit_rollups
from costguard.pricing.usage import Usage
from costguard.tags import Tags
from tests.ledger import valkey
from tests.ledger.postgres import server
from tests.ledger.stores import new_url
from tests.ledger.values import ALICE, DAY, NOW, SECOND, entry, hold, limit

BOB = Tags(user="bob", feature="search", session="s1")
HOUR = 3600 * SECOND


def made(
    at_ns: int, tags: Tags = ALICE, nanos: int | None = 1000, model: str = "gpt-4o", took_ns: int = SECOND
) -> Entry:
    return Entry(
        new_call_id(at_ns), at_ns, "openai", model, "chat", nanos, Usage(input_tokens=10, output_tokens=2), tags=tags,
        duration_ns=took_ns,
    )  # fmt: skip


def fill(ledger: Ledger, days: int = 3, calls: int = 20) -> list[Entry]:
    chance = Random(1)
    entries = [
        made(NOW - chance.randrange(days * DAY), chance.choice([ALICE, BOB]), chance.randrange(10**6))
        for _ in range(calls * days)
    ]
    ledger.settle_all([(one, None) for one in entries])
    return entries


def change(url: str, *statements: str) -> None:
    for statement in statements:
        if url.startswith("sqlite"):
            with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
                connection.execute(statement)
            connection.close()
        else:
            server().execute(statement, url)


def told(ledger: Ledger) -> list[Any]:
    questions: list[list[str]] = [[], ["user", "day"], ["feature", "hour"], ["session", "model"]]
    return [[ledger.sums(by, {}), ledger.percentiles(by, {})] for by in questions]


def test_rollups_that_are_wrong_are_found_and_rebuilt(shared_url: str) -> None:
    ledger = open_ledger(shared_url)
    fill(ledger)
    right = told(ledger)
    change(
        shared_url,
        "DELETE FROM costguard_days WHERE status = 0",
        "UPDATE costguard_hours SET cost = cost + 1, entries = entries + 1",
        "DELETE FROM costguard_spreads WHERE part > 64",
        f"INSERT INTO costguard_days SELECT day + 100, group_id, model_id, 0, {', '.join('1' * 15)} "
        "FROM costguard_spreads WHERE part < 64",
    )
    assert told(ledger) != right
    found = audit_rollups(ledger)
    assert (found.ok, found.differences > 10, found.rebuilt) == (False, True, False)
    days: list[int] = []
    rebuilt = audit_rollups(ledger, rebuild=True, progress=days.append)
    assert (rebuilt.ok, rebuilt.differences, rebuilt.rebuilt) == (True, found.differences, True)
    assert days == list(range(1, rebuilt.days + 1))
    assert audit_rollups(ledger).differences == 0
    assert told(ledger) == right
    ledger.close()


def test_rollups_are_rebuilt_while_calls_go_on(shared_url: str) -> None:
    first = open_ledger(shared_url)
    fill(first)
    change(shared_url, "DELETE FROM costguard_days", "UPDATE costguard_spreads SET c0 = c0 + 7")

    def work(number: int) -> None:
        ledger = open_ledger(shared_url)
        for turn in range(15):
            lot = [made(NOW - place * HOUR, (ALICE, BOB)[place % 2], number + turn) for place in range(20)]
            lot = lot if number % 2 else lot[::-1]
            ledger.settle_all([(one, None) for one in lot])
        ledger.close()

    def rebuild() -> None:
        for _ in range(3):
            audit_rollups(first, rebuild=True)

    with ThreadPoolExecutor(5) as pool:
        for done in [*[pool.submit(work, number) for number in range(4)], pool.submit(rebuild)]:
            done.result()
    assert audit_rollups(first).differences == 0
    ((total),) = first.sums([], {})
    assert total.calls == 60 + 4 * 15 * 20
    first.close()


OF_BEFORE = (
    'INSERT INTO costguard_tag_sets (id, digest, tags) VALUES (11, {zero}, \'{{"feature":"chat","user":"alice"}}\')',
    "INSERT INTO costguard_tag_sets (id, digest, tags) VALUES (12, {one}, '{{}}')",
    "INSERT INTO costguard_models (id, digest, provider, model, operation) "
    "VALUES (11, {zero}, 'openai', 'gpt-4o', 'chat')",
    "INSERT INTO costguard_entries (id, call_id, at, model_id, tags_id, cost, input_tokens, duration) "
    f"VALUES (11, {{one}}, {NOW // 1000}, 11, 11, 250, 10, 2000)",
    "INSERT INTO costguard_entries (id, call_id, at, model_id, tags_id, cost, input_tokens, status) "
    f"VALUES (12, {{zero}}, {(NOW - 40 * DAY) // 1000}, 11, 12, NULL, 5, 1)",
)


def test_a_ledger_of_the_version_before_is_rolled_up_when_it_is_opened(shared_url: str, tmp_path: Path) -> None:
    postgres = shared_url.startswith("postgresql")
    url = server().database("template1") if postgres else f"sqlite:///{tmp_path}/old.db"
    engine = (
        create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url)) if postgres else create_engine(url)
    )
    ids = {
        name: f"'\\x{text * 16}'" if postgres else f"x'{text * 16}'" for name, text in (("zero", "00"), ("one", "01"))
    }
    with engine.begin() as connection:
        migrate.upgrade(connection, "0005")
        for statement in OF_BEFORE:
            connection.exec_driver_sql(statement.format(**ids))
    engine.dispose()
    ledger = open_ledger(url)
    assert audit_rollups(ledger).differences == 0
    found = {one.group["user"]: one for one in ledger.sums(["user"], {})}
    assert (found["alice"].cost, found["unattributed"].unpriced_calls, found["unattributed"].errors) == (250, 1, 1)
    assert [one.cost for one in ledger.sums(["feature"], {"user": "alice"})] == [250]
    assert [one.cost for one in ledger.sums(["user"], {"feature": "chat"})] == [250]
    ledger.settle(made(NOW, Tags(user="alice", feature="chat"), 50), None)
    assert [one.cost for one in ledger.sums(["user"], {"feature": "chat"})] == [300]
    ledger.close()


def test_what_is_forgotten_is_forgotten_in_the_rollups(shared_url: str) -> None:
    ledger = open_ledger(shared_url)
    month = datetime.fromtimestamp(NOW // SECOND, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    before = int(month.timestamp()) * SECOND
    ledger.settle_all([(made(before - DAY), None), (made(before - 70 * DAY), None), (made(before + DAY), None)])
    assert ledger.retain(before) == 2
    assert audit_rollups(ledger).differences == 0
    assert [one.calls for one in ledger.sums([], {})] == [1]
    assert [one.group["day"] for one in ledger.sums(["user", "day"], {})] == [f"{month:%Y-%m}-02"]
    ledger.close()


def test_what_is_settled_by_way_of_valkey_is_rolled_up(tmp_path: Path) -> None:
    ledger = valkey.opened(new_url("sqlite", tmp_path), valkey.server().url())
    held = hold(limit())
    assert ledger.reserve(held, NOW) is None
    assert ledger.settle(entry(held), held) is not None
    lost = hold(limit(), at_ns=NOW)
    assert ledger.reserve(lost, NOW) is None
    ledger.expire(NOW + DAY)
    assert audit_rollups(ledger).differences == 0
    assert [one.calls for one in ledger.sums(["user"], {})] == [2]
    ledger.close()


def test_a_store_without_rollups_has_none_to_rebuild() -> None:
    ledger = open_ledger("memory://")
    assert audit_rollups(ledger).ok
    with pytest.raises(ConfigError, match="keeps no rollups"):
        audit_rollups(ledger, rebuild=True)


def test_a_bucket_tells_its_numbers_to_five_percent() -> None:
    for number in [
        *range(2000),
        *BORDERS,
        *[border - 1 for border in BORDERS],
        *[border * 21 // 20 for border in BORDERS],
    ]:
        assert abs(number_of(bucket(number)) - number) <= number * 0.05, number


def test_percentiles_are_at_most_five_percent_off(ledger: Ledger) -> None:
    chance = Random(5)
    entries = [
        made(NOW - chance.randrange(3 * DAY), chance.choice([ALICE, BOB]), int(10 ** chance.uniform(0, 9)),
             took_ns=int(10 ** chance.uniform(6, 11)) // 1000 * 1000)
        for _ in range(400)
    ]  # fmt: skip
    ledger.settle_all([(one, None) for one in entries])
    for by in (["feature"], ["user"]):
        for found in ledger.percentiles(by, {}):
            mine = [one for one in entries if one.tags.value(by[0]) == found.group[by[0]]]
            assert found.calls == len(mine)
            told = (found.latency_p50_ns, found.latency_p95_ns, found.cost_p50, found.cost_p95)
            took, cost = sorted(one.duration_ns for one in mine), sorted(one.nanos or 0 for one in mine)
            true = [some[-(-len(some) * part // 100) - 1] for some in (took, cost) for part in (50, 95)]
            for said, exact in zip(told, true, strict=True):
                assert said is not None
                assert abs(said - exact) <= exact * 0.05


def test_percentiles_of_nothing_are_none(ledger: Ledger) -> None:
    assert ledger.percentiles(["user"], {}) == []
    assert percentile({}, 50) is None
    ledger.settle(made(NOW, nanos=None), None)
    (found,) = ledger.percentiles([], {})
    assert (found.calls, found.cost_p50, found.cost_p95) == (1, None, None)


@pytest.mark.parametrize("order", ["newest", "dearest", "slowest"])
def test_entries_are_paged_in_every_order(ledger: Ledger, order: Order) -> None:
    chance = Random(3)
    entries = [
        made(
            NOW - chance.randrange(3) * HOUR,
            nanos=chance.choice([None, 0, 7, 900]),
            took_ns=chance.randrange(4) * 10**6,
        )
        for _ in range(30)
    ]
    ledger.settle_all([(one, None) for one in entries])
    whole = ledger.entries({}, order=order)
    values = [{"newest": one.at_ns, "slowest": one.duration_ns, "dearest": one.nanos}[order] for one in whole]
    assert values == sorted(values, key=lambda value: (value is not None, value or 0), reverse=True)
    paged: list[Entry] = []
    while page := ledger.entries({}, order=order, limit=7, before=paged[-1] if paged else None):
        paged += page
    assert [one.call_id for one in paged] == [one.call_id for one in whole]
    assert len(paged) == 30


def test_entries_and_sums_are_found_by_facts_and_by_any_of_several_values(ledger: Ledger) -> None:
    one, two, three = made(NOW), made(NOW, BOB, model="o3"), made(NOW, Tags(team="red"), model="o3")
    failed = Entry(new_call_id(NOW), NOW, "anthropic", "opus", "chat", 0, status="error", tags=BOB)
    ledger.settle_all([(each, None) for each in (one, two, three, failed)])

    def found(**where: Any) -> set[str]:
        entries = {each.call_id for each in ledger.entries(where)}
        assert sum(each.calls for each in ledger.sums(["user", "model"], where)) == len(entries)
        assert sum(each.calls for each in ledger.sums(["status"], where)) == len(entries)
        return entries

    assert found(model="o3") == {two.call_id, three.call_id}
    assert found(model=("o3", "opus")) == {two.call_id, three.call_id, failed.call_id}
    assert found(provider="anthropic", user="bob") == {failed.call_id}
    assert found(status="error") == {failed.call_id}
    assert found(status="no such") == found(model=()) == set()
    assert found(user=["alice", "bob"]) == {one.call_id, two.call_id, failed.call_id}
    assert found(user=["alice", "unattributed"]) == {one.call_id, three.call_id}
    assert found(feature="unattributed") == {three.call_id}
    assert found(team="red") == {three.call_id}
    assert [each.call_id for each in ledger.entries({}, call_id=two.call_id)] == [two.call_id]
    assert ledger.entries({}, call_id=new_call_id(NOW)) == []
    with pytest.raises(ConfigError, match="is not a UUID"):
        ledger.entries({}, call_id="x")


def test_sums_by_hour_are_of_the_hours_in_utc(ledger: Ledger) -> None:
    ledger.settle_all([(made(NOW), None), (made(NOW + HOUR), None), (made(NOW, BOB), None)])
    first, second = [datetime.fromtimestamp((NOW + more) // SECOND, UTC).strftime("%Y-%m-%dT%H") for more in (0, HOUR)]
    assert {one.group["hour"]: one.calls for one in ledger.sums(["hour"], {})} == {first: 2, second: 1}
    assert {(one.group["user"], one.group["hour"]): one.calls for one in ledger.sums(["user", "hour"], {})} == {
        ("alice", first): 1, ("alice", second): 1, ("bob", first): 1,
    }  # fmt: skip


def test_a_call_of_a_lease_is_counted_once_and_the_lease_not_at_all(shared_url: str) -> None:
    ledger = open_ledger(shared_url)
    call = Call("costguard", "lease", operation="lease")
    lease = hold(limit("$5/month"), cents=50)
    lease.call.provider, lease.call.operation = call.provider, call.operation
    taken = Lease(lease.call, lease.limits, lease.amount, lease.expires_ns)
    assert ledger.reserve(taken, NOW) is None
    ledger.expire(NOW + DAY)
    assert ledger.sums(["user"], {}) == []
    assert [one.cost for one in ledger.sums(["operation"], {})] == [lease.amount]
    assert [one.cost for one in ledger.sums([], {"operation": "lease"})] == [lease.amount]
    held = hold(limit("$5/month"), cents=20)
    held.leases = (taken.call.id,)
    assert ledger.settle(entry(held, 20), held) is not None
    assert [one.cost for one in ledger.sums([], {"operation": "lease"})] == [lease.amount - held.amount]
    assert [one.cost for one in ledger.sums(["user"], {})] == [held.amount]
    assert audit_rollups(ledger).differences == 0
    ledger.close()
