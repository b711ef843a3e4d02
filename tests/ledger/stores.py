"""A new, empty ledger of each kind that processes can share."""

from __future__ import annotations

from pathlib import Path

from tests.ledger.postgres import server


def new_url(store: str, folder: Path) -> str:
    return server().database() if store == "postgres" else f"sqlite:///{folder}/costs.db"
