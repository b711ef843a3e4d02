"""The bytes of a journal: everything an entry says comes back, and only whole records are read."""

from __future__ import annotations

import logging
import os
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from costguard.events import Entry, Hold
from costguard.ledger.journal_file import HEADER, JournalFile
from costguard.ledger.journal_reader import JournalReader
from costguard.ledger.journal_record import HEAD, UNWRITABLE, whole
from costguard.ledger.record import STATUSES
from costguard.pricing.rates import Rates
from costguard.pricing.usage import BUCKETS, Usage
from costguard.tags import Tags
from tests.ledger.values import entry, facts, hold, limit

RATES = Rates("openai", "gpt-4o", "test", {"input": 2_500, "output": 10_000}, scale=9)


def written(directory: Path, *settled: tuple[Entry, Hold | None]) -> JournalFile:
    file = JournalFile.create(directory)
    for one, held in settled:
        file.append(file.encoder.encode(one, held))
    return file


def read(file: JournalFile, start: int = HEADER) -> list[tuple[Entry, Hold | None]]:
    return [(one, held) for one, held, _, _ in JournalReader(file, start).batch(1000, os.stat(file.path).st_size)]


def of_hold(held: Hold | None) -> object:
    if held is None:
        return None
    limits = [
        (at.key, at.unit, at.most, at.marks, at.start, at.end, at.payer, at.budget) for at in held.limits
    ]  # fmt: skip
    return held.call.id, held.amount, held.tokens, held.expires_ns, held.leases, limits


texts = st.text(st.characters(exclude_characters="\x00"), max_size=20)


tag_sets = st.dictionaries(st.sampled_from(["user", "feature", "team"]), texts.map(lambda text: text or "x"))
settlements = st.fixed_dictionaries({
    "tags": tag_sets,
    "rules": st.sets(st.sampled_from(["$1/day per user", "$5/month", "$9/ever"])),
    "kind": st.sampled_from(["held", "leased", "not held", "held as another"]),
    "amounts": st.tuples(st.integers(0, 10**6), st.integers(0, 10**9)),
    "entry": st.fixed_dictionaries({
        "nanos": st.none() | st.integers(0, 2**62),
        "usage": st.dictionaries(st.sampled_from(BUCKETS), st.integers(1, 10**12)).map(Usage.of),
        "status": st.sampled_from(STATUSES),
        "estimated": st.booleans(),
        "streamed": st.booleans(),
        "attempts": st.integers(1, 99),
        "rates": st.sampled_from([None, RATES]),
        "response_id": st.none() | texts,
        "reason": st.none() | texts,
    }),
})  # fmt: skip


def settled(given: dict[str, Any]) -> tuple[Entry, Hold | None]:
    tags = Tags(given["tags"])
    cents, tokens = given["amounts"]
    held = hold(*[limit(rule, tags) for rule in given["rules"]], cents=cents, tags=tags)
    held.tokens = tokens
    if given["kind"] == "leased":
        held.leases = tuple([hold().call.id for _ in held.limits])
    one = entry(held, None, **given["entry"])
    if given["kind"] == "held as another":
        one.call_id = hold().call.id
    return one, None if given["kind"] == "not held" else held


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(settlements, min_size=1, max_size=8))
def test_what_was_written_comes_back_whole(tmp_path: Path, given: list[dict[str, Any]]) -> None:
    made = [settled(one) for one in given]
    file = written(tmp_path, *made)
    back = read(file)
    assert [facts(one) for one, _ in back] == [facts(one) for one, _ in made]
    assert [of_hold(held) for _, held in back] == [of_hold(held) for _, held in made]
    file.remove()


def test_what_repeats_is_written_once(tmp_path: Path) -> None:
    held = hold(limit(), limit("$5/month"))
    file = written(tmp_path, (entry(held), held))
    first = file.end - HEADER
    before = file.end
    for _ in range(10):
        another = hold()
        another.limits = held.limits
        file.append(file.encoder.encode(entry(another), another))
    assert (file.end - before) / 10 < 200 < first


def test_a_limit_that_was_raised_for_its_payer_keeps_what_it_was(tmp_path: Path) -> None:
    held = hold(limit())
    held.limits[0].most += 5
    ((_, back),) = read(written(tmp_path, (entry(held), held)))
    assert back is not None
    assert back.limits[0].most == held.limits[0].most


def test_a_file_torn_anywhere_in_its_last_record_keeps_the_ones_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    holds = [hold() for _ in range(3)]
    holds[2].limits = holds[1].limits
    file = written(tmp_path, *[(entry(held), held) for held in holds[:2]])
    before = file.end
    file.append(file.encoder.encode(entry(holds[2]), holds[2]))
    data = file.path.read_bytes()
    for end in range(before, len(data)):
        torn = tmp_path / f"torn-{end}.journal"
        torn.write_bytes(data[:end])
        adopted = JournalFile.adopt(torn)
        assert adopted is not None
        reader = JournalReader(adopted, adopted.moved)
        assert [one.call_id for one, *_ in reader.batch(9, adopted.end)] == [held.call.id for held in holds[:2]]
        assert [(begin, length) for begin, length, _ in reader.skipped] == (
            [(before, end - before)] if end > before else []
        )
        reader.report()
        assert not adopted.damaged
        adopted.remove()
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_a_file_cut_anywhere_at_all_never_gives_anything_but_whole_entries(tmp_path: Path) -> None:
    holds = [hold() for _ in range(3)]
    file = written(tmp_path, *[(entry(held), held) for held in holds])
    data = file.path.read_bytes()
    for end in range(len(data)):
        torn = tmp_path / "torn.journal"
        torn.write_bytes(data[:end])
        adopted = JournalFile.adopt(torn)
        assert adopted is not None
        ids = [one.call_id for one, *_ in JournalReader(adopted, adopted.moved).batch(9, adopted.end)]
        assert ids == [held.call.id for held in holds][: len(ids)]
        adopted.remove()


def test_records_behind_damage_are_found_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    chance = random.Random(3)
    holds = [hold() for _ in range(5)]
    file = JournalFile.create(tmp_path)
    ends = []
    for held in holds:
        file.append(file.encoder.encode(entry(held), held))
        ends.append(file.end)
    data = bytearray(file.path.read_bytes())
    for at in range(ends[1], ends[2]):
        broken = bytearray(data)
        broken[at] ^= 1 + chance.randrange(255)
        file.path.write_bytes(broken)
        reader = JournalReader(file, HEADER)
        ids = [one.call_id for one, *_ in reader.batch(9, file.end)]
        assert ids == [held.call.id for held in holds[:2] + holds[3:]]
        reader.report()
        assert file.damaged
    assert {record.levelno for record in caplog.records} == {logging.CRITICAL}


def test_after_damage_to_a_definition_what_used_it_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    held = hold()
    file = written(tmp_path, (entry(held), held))
    data = bytearray(file.path.read_bytes())
    data[HEADER + HEAD.size + 3] ^= 1
    file.path.write_bytes(data)
    reader = JournalReader(file, HEADER)
    assert reader.batch(9, file.end) == []
    reader.report()
    assert file.damaged
    assert "cannot be understood" in caplog.text


@pytest.mark.parametrize("wrong", [{"nanos": 2**70}, {"attempts": -1}, {"status": "fine"}])
def test_an_entry_that_cannot_be_written_says_so_and_leaves_the_file_readable(
    tmp_path: Path, wrong: dict[str, object]
) -> None:
    good, bad = hold(), hold(limit("$7/week"))
    file = JournalFile.create(tmp_path)
    with pytest.raises(UNWRITABLE):
        file.append(file.encoder.encode(entry(bad, None, **wrong), bad))
    for held in (good, bad):
        file.append(file.encoder.encode(entry(held), held))
    assert [one.call_id for one, _ in read(file)] == [good.call.id, bad.call.id]


def test_the_log_has_everything_of_an_entry_that_is_nowhere_else() -> None:
    held = hold()
    said = whole(entry(held, rates=RATES, reason="because"), held)
    for part in (
        held.call.id,
        "gpt-4o",
        '"user":"alice"',
        '"output":10',
        "because",
        "100000000",
        held.limits[0].key[2:5],
    ):
        assert part in said
