from __future__ import annotations

from pathlib import Path

import pytest

from costguard.errors import ConfigError
from costguard.ledger.memory import MemoryLedger
from costguard.ledger.opening import open_ledger


def test_a_ledger_is_handed_back() -> None:
    ledger = MemoryLedger()
    assert open_ledger(ledger) is ledger


def test_memory_and_files_are_opened_by_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_ledger("memory://").url == "memory://"
    assert open_ledger("sqlite:///costs.db").url == "sqlite:///costs.db"
    assert (tmp_path / "costs.db").is_file()
    assert open_ledger(f"sqlite:///{tmp_path}/absolute.db?synchronous=full&patience=0.5").spent({}) == 0
    assert (tmp_path / "absolute.db").is_file()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("costs.db", r"store 'costs\.db' is not a URL; give \"sqlite:///costs\.db\""),
        ("mongodb://user:secret@host/db", r"store mongodb://\.\.\. is of a kind that this version does not know"),
        ("postgresql+asyncpg://u:secret@h/db", r"postgresql\+asyncpg://\.\.\. is of a kind that this version does not"),
        ("sqlite://", "SQLite in memory.*memory://"),
        ("sqlite:///:memory:", "SQLite in memory.*memory://"),
        ("sqlite://costs.db", r"names a host, 'costs\.db'; a path comes after three slashes"),
        ("sqlite:///costs.db?synchronous=OFF", "synchronous=OFF; use NORMAL or FULL"),
        ("sqlite:///costs.db?patience=long", "patience=long; give seconds"),
        ("sqlite:///costs.db?patience=-1", "patience=-1; give seconds"),
        ("sqlite:///costs.db?timeout=1", "unknown option 'timeout'; use synchronous or patience"),
        (7, "store 7 is a int"),
    ],
)
def test_a_wrong_store_is_named_with_the_way_out(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        open_ledger(url)
    assert "secret" not in str(raised.value)
