"""What every table of a SQL ledger is made of, and the MetaData that they are in."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, SmallInteger, text
from sqlalchemy.orm import registry
from sqlmodel import SQLModel

# SQLite makes ids by itself only for a column that is an INTEGER, not a BIGINT.
ID = BigInteger().with_variant(Integer, "sqlite")

_registry = registry()
metadata = _registry.metadata


class Base(SQLModel, registry=_registry):
    """Keeps the tables out of `SQLModel.metadata`."""


def number(name: str, *, nullable: bool = False, default: str | None = None) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable, server_default=None if default is None else text(default))


def small(name: str, default: str) -> Column[int]:
    return Column(name, SmallInteger, nullable=False, server_default=text(default))
