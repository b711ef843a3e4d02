"""What is read from rollups where somebody asks for what is not there, or a transaction is taken back."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from costguard.call import new_call_id
from costguard.events import Entry
from costguard.ledger.base import Ledger
from costguard.ledger.memory import MemoryLedger
from costguard.ledger.opening import open_ledger
from costguard.ledger.rollups_upkeep import audit_rollups
from costguard.pricing.usage import Usage
from costguard.tags import Tags
from tests.ledger.values import DAY, NOW, hold, limit

FAR = 5000 * 365 * DAY // 1000 * 1000


def made(tags: Tags, nanos: int | None = 1000, at_ns: int = NOW) -> Entry:
    return Entry(
        new_call_id(NOW), at_ns, "openai", "gpt-4o", "chat", nanos, Usage(input_tokens=10, output_tokens=2), tags=tags
    )


@pytest.mark.parametrize("value", ["a\0b", "\ud800", "\u00e9\0", "nobody"])
def test_a_value_that_no_store_can_have_is_found_nowhere(ledger: Ledger, value: str) -> None:
    ledger.settle(made(Tags(user="alice", feature="chat")), None)
    for name in ("user", "feature", "model", "provider", "operation", "status"):
        assert ledger.sums([], {name: value}) == []
        assert ledger.percentiles(["user"], {name: value}) == []
        assert ledger.entries({name: value}) == []
        assert [one.calls for one in ledger.sums([], {name: [value, "chat", "alice", "gpt-4o", "openai", "ok"]})] == [1]


def test_groups_of_one_cost_come_in_the_order_of_their_names(shared_url: str) -> None:
    ledger, memory = open_ledger(shared_url), MemoryLedger()
    for place in range(60):
        one = made(Tags(user=f"u{place * 7 % 60}", feature="chat"), place % 3 * 100)
        for store in (ledger, memory):
            store.settle(one, None)
    by: list[str]
    for by in (["user"], ["user", "day"], ["day", "user", "status"], ["model", "user", "provider"]):
        assert ledger.sums(by, {}) == memory.sums(by, {})
        assert ledger.sums(by, {"user": ["u1", "u2", "u3"]}) == memory.sums(by, {"user": ["u1", "u2", "u3"]})
    ledger.close()


def test_an_entry_of_a_wrong_clock_does_not_keep_others_from_being_found(shared_url: str) -> None:
    ledger = open_ledger(shared_url)
    ledger.settle_all([(made(Tags(user="alice")), None), (made(Tags(user="bob"), at_ns=NOW + FAR), None)])
    for user, cost in (("alice", 1000), ("bob", 1000), ("carol", 0)):
        assert ledger.spent({"user": user}) == cost
        assert ledger.spent({"user": user}, since_ns=NOW + DAY) == (cost if user == "bob" else 0)
    assert [entry.at_ns - NOW for entry in ledger.entries({})] == [FAR, 0]
    assert audit_rollups(ledger).differences == 0
    ledger.close()


def test_a_group_of_a_transaction_that_is_taken_back_is_not_remembered(tmp_path: Path) -> None:
    """A worker of the version before has made the tag set, which has no group; SQLite gives the number of one that is
    taken back to the next tag set."""
    path = tmp_path / "ledger.db"
    ledger = open_ledger(f"sqlite:///{path}")
    held = hold(limit())
    ledger.reserve(held, NOW)
    ledger.close()
    _change(path, "UPDATE costguard_tag_sets SET group_id = NULL")
    _change(path, "DELETE FROM costguard_tag_sets WHERE id NOT IN (SELECT tags_id FROM costguard_holds)")
    _change(path, "CREATE TRIGGER full BEFORE INSERT ON costguard_days BEGIN SELECT RAISE(ABORT, 'full'); END")
    ledger = open_ledger(f"sqlite:///{path}")
    with pytest.raises(sqlite3.IntegrityError, match="full"):
        ledger.expire(NOW + DAY)
    _change(path, "DROP TRIGGER full")
    ledger.settle(made(Tags(user="zoe", feature="another")), None)
    ledger.expire(NOW + DAY)
    assert audit_rollups(ledger).differences == 0
    assert _calls(ledger) == {"another": 1, "chat": 1}
    ledger.close()


def _change(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.close()


def _calls(ledger: Ledger) -> dict[str, Any]:
    return {one.group["feature"]: one.calls for one in ledger.sums(["feature"], {})}
