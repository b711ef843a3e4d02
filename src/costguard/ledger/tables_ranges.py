"""Which ids the entries of an hour have: what leads from a time to its rows in SQLite, in a hundredth of an index."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer
from sqlmodel import Field

from costguard.ledger.tables_base import Base, number


class IdRange(Base, table=True):
    """All entries of this hour (since 1970) whose ids are not in another range of it have theirs in this one.

    Ids grow with time, but for calls that are recorded late: those make the range longer, or another one if they come
    much later. Ranges of one hour have no id in common; those of others may have any. Triggers on `costguard_entries`
    see to it that there is one for every entry. In PostgreSQL, which has an index of times, the table is empty.
    """

    __tablename__ = "costguard_id_ranges"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012 - SQLModel reads it as it is

    hour: int = Field(sa_column=Column("hour", Integer, primary_key=True, autoincrement=False))
    first: int = Field(sa_column=Column("first", BigInteger, primary_key=True, autoincrement=False))
    last: int = Field(sa_column=number("last"))
