"""What can be wrong with a file: each error names the file, the reason and the way out."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from costguard.errors import ConfigError, StoreUnavailable
from costguard.ledger.opening import open_ledger
from tests.ledger.test_concurrency import go, start
from tests.ledger.values import CENT, NOW, hold, limit
from tests.ledger.worker import spend


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match=r"costs\.db cannot be opened, because .*/nowhere is not a directory"):
        open_ledger(f"sqlite:///{tmp_path}/nowhere/costs.db")


def test_a_directory_is_not_a_ledger(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="cannot be opened"):
        open_ledger(f"sqlite:///{tmp_path}")


def test_a_file_of_another_kind_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear Alice, this is not a database. " * 100)
    before = path.read_bytes()
    with pytest.raises(StoreUnavailable, match=r"letter\.txt is not an SQLite database; give the path of another file"):
        open_ledger(f"sqlite:///{path}")
    assert path.read_bytes() == before


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_read_only_database_is_named_with_the_way_out(open_folder: Path) -> None:
    url = f"sqlite:///{open_folder}/costs.db"
    ledger = open_ledger(url)
    assert spend(ledger)
    ledger.close()
    (open_folder / "costs.db").chmod(0o444)
    open_folder.chmod(0o555)
    root = os.geteuid() == 0
    try:
        if root:
            # To root nothing is read-only.
            os.seteuid(65534)
        with pytest.raises(StoreUnavailable, match=r"costs\.db is read-only for this process; make the file and"):
            open_ledger(url)
    finally:
        if root:
            os.seteuid(0)
        open_folder.chmod(0o755)


def test_a_locked_database_is_unavailable_after_our_patience_and_usable_again_later(url: str, tmp_path: Path) -> None:
    ledger = open_ledger(f"{url}?patience=0.1")
    other = sqlite3.connect(tmp_path / "costs.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match=r"costs\.db has been locked by another process for 0\.1 s; end what"):
        spend(ledger)
    assert ledger.balances([limit()]) == [(0, 0)]
    other.execute("ROLLBACK")
    other.close()
    assert spend(ledger)


def test_a_full_disk_is_told_and_loses_nothing_that_was_confirmed(url: str) -> None:
    open_ledger(url).close()
    worker = start(url, "fill")
    (answer,) = go([worker])
    name, message, done = json.loads(answer)
    assert name == "StoreUnavailable"
    assert "costs.db cannot" in message
    ledger = open_ledger(url)
    # The last call was reserved or not; those before it are all there.
    assert len(ledger.entries({}, limit=20_000)) == done > 0
    assert ledger.balances([limit()])[0][0] == ledger.spent({})
    assert spend(ledger)


def test_tables_dropped_by_hand_are_told(url: str, tmp_path: Path) -> None:
    ledger = open_ledger(url)
    other = sqlite3.connect(tmp_path / "costs.db")
    other.execute("DROP TABLE costguard_holds")
    other.close()
    with pytest.raises(StoreUnavailable, match="no such table: costguard_holds"):
        ledger.reserve(hold(), NOW)


def test_a_ledger_of_a_newer_costguard_is_refused(url: str, tmp_path: Path) -> None:
    open_ledger(url).close()
    other = sqlite3.connect(tmp_path / "costs.db")
    other.execute("UPDATE costguard_version SET version_num = '9999'")
    other.commit()
    other.close()
    with pytest.raises(ConfigError, match=r"has schema 9999.*upgrade costguard"):
        open_ledger(url)


def test_a_ledger_stays_in_its_file_when_the_process_changes_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    ledger = open_ledger("sqlite:///costs.db")
    spend(ledger)
    ledger.close()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert ledger.spent({}) == 10 * CENT
    assert not (tmp_path / "elsewhere" / "costs.db").exists()


def test_a_closed_ledger_whose_file_was_replaced_starts_anew(url: str, tmp_path: Path) -> None:
    ledger = open_ledger(url)
    spend(ledger)
    ledger.close()
    for path in tmp_path.glob("costs.db*"):
        path.unlink()
    assert spend(ledger)
    assert [entry.tags.user for entry in ledger.entries({})] == ["alice"]


def test_the_tables_can_live_in_a_database_of_the_app(url: str, tmp_path: Path) -> None:
    own = sqlite3.connect(tmp_path / "costs.db")
    own.execute("CREATE TABLE users (id INTEGER PRIMARY KEY)")
    own.execute("INSERT INTO users VALUES (1)")
    own.commit()
    ledger = open_ledger(url)
    assert spend(ledger)
    assert own.execute("SELECT count(*) FROM users").fetchone() == (1,)
    own.close()


def test_a_call_loads_neither_sqlalchemy_nor_alembic_once_the_tables_exist(url: str) -> None:
    open_ledger(url).close()
    script = (
        "import sys; from tests.ledger.worker import *; ledger = open_ledger(sys.argv[1]); assert spend(ledger); "
        "print([name for name in ('sqlalchemy', 'sqlmodel', 'pydantic', 'alembic') if name in sys.modules])"
    )
    root = Path(__file__).parents[2]
    out = subprocess.run([sys.executable, "-c", script, url], cwd=root, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
