"""The tables of scheduled alert rules: what they remember, what is counted for them, and what people have muted."""

from __future__ import annotations

from sqlalchemy import Column, Index, Text, text
from sqlmodel import Field

from costguard.ledger.tables_base import ID, Base, number


class AlertRule(Base, table=True):
    """A rule that is looked at by one worker at a time.

    done:   up to when it was looked at; 0: never
    until:  a worker is at it, until this time
    lease:  grows with every claim
    memory: JSON object
    """

    __tablename__ = "costguard_alert_rules"

    rule: str = Field(sa_column=Column("rule", Text, primary_key=True))
    done: int = Field(default=0, sa_column=number("done", default="0"))
    until: int = Field(default=0, sa_column=number("until", default="0"))
    lease: int = Field(default=0, sa_column=number("lease", default="0"))
    memory: str = Field(default="{}", sa_column=Column("memory", Text, nullable=False, server_default=text("'{}'")))


class AlertCount(Base, table=True):
    """How many of what no entry shows, such as refusals, in the five minutes from `at` on; `subject`: JSON object."""

    __tablename__ = "costguard_alert_counts"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012 - SQLModel reads it as it is

    at: int = Field(sa_column=Column("at", number("at").type, primary_key=True, autoincrement=False))
    name: str = Field(sa_column=Column("name", Text, primary_key=True))
    subject: str = Field(sa_column=Column("subject", Text, primary_key=True))
    count: int = Field(sa_column=number("count"))


class MuteRow(Base, table=True):
    """Alerts that people do not want to hear. Rows stay, those that were removed too; see `costguard.ledger.mutes`."""

    __tablename__ = "costguard_mutes"
    __table_args__ = (Index("costguard_mutes_current", "removed", "until"),)

    id: int | None = Field(default=None, sa_column=Column("id", ID, primary_key=True))
    kind: str = Field(sa_column=Column("kind", Text, nullable=False))
    budget: str = Field(sa_column=Column("budget", Text, nullable=False))
    payer: str = Field(sa_column=Column("payer", Text, nullable=False))
    until: int | None = Field(default=None, sa_column=number("until", nullable=True))
    author: str = Field(sa_column=Column("author", Text, nullable=False))
    reason: str = Field(sa_column=Column("reason", Text, nullable=False))
    created: int = Field(sa_column=number("created"))
    removed: int | None = Field(default=None, sa_column=number("removed", nullable=True))
    removed_by: str | None = Field(default=None, sa_column=Column("removed_by", Text))
