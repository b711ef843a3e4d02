"""Response ids in fewer bytes, and back."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costguard.ledger.opening import open_ledger
from costguard.ledger.response_ids import pack, unpack
from tests.ledger.values import entry, hold

KNOWN = {
    "chatcmpl-AyPNinnUqUDYo9SAdA52NobMflmj2": 22,
    "chatcmpl-9-_NinnUqUDYo9SAdA52NobMflmj2": 22,
    "msg_01XFDUDYJgAACzvnptvVoYEL": 17,
    "resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b": 24,
    "YrmVaKKCKomY1PIP8rqf8A8": 18,
    "0f3b9d2e-52c8-4a1e-9f0c-6a4c5b2d1e00": 16,
}


@pytest.mark.parametrize(("text", "size"), KNOWN.items())
def test_an_id_of_a_known_form_takes_few_bytes_and_comes_back(text: str, size: int) -> None:
    kept = pack(text)
    assert isinstance(kept, bytes)
    assert len(kept) == size
    assert unpack(kept) == text


@given(st.one_of(st.text(), st.from_regex(r"(chatcmpl-|msg_01|resp_|)[A-Za-z0-9_+/=-]{20,50}", fullmatch=True)))
def test_every_text_comes_back_as_it_was(text: str) -> None:
    assert unpack(pack(text)) == text


@given(st.sampled_from(sorted(KNOWN)), st.integers(0, 60), st.characters())
def test_an_id_that_is_almost_of_a_known_form_comes_back_as_it_was(known: str, place: int, other: str) -> None:
    text = known[:place] + other + known[place + 1 :]
    assert unpack(pack(text)) == text


def test_sqlite_keeps_the_bytes_and_hands_out_the_text_rows_of_before_included(tmp_path: Path) -> None:
    ledger = open_ledger(f"sqlite:///{tmp_path}/costs.db")
    for text in (*KNOWN, "gen-1761-odd", None):
        held = hold()
        ledger.settle(entry(held, response_id=text), held)
    with sqlite3.connect(tmp_path / "costs.db") as connection:
        kept = dict(connection.execute("SELECT typeof(response_id), count(*) FROM costguard_entries GROUP BY 1"))
        connection.execute("UPDATE costguard_entries SET response_id = 'as it was' WHERE response_id IS NULL")
    assert kept == {"blob": len(KNOWN), "text": 1, "null": 1}
    assert {one.response_id for one in ledger.entries({})} == {*KNOWN, "gen-1761-odd", "as it was"}
    ledger.close()
