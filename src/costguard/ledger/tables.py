"""The tables of a SQL ledger, as SQLModel classes with a MetaData of their own.

An app's `SQLModel.metadata.create_all()` does not make them. Where they share a database with an app,
its Alembic has to be told of them, or its autogenerate proposes to drop them:
``target_metadata = [SQLModel.metadata, costguard.ledger.tables.metadata]``.
To migrate from there too, see `costguard.ledger.migrate`.

Amounts are integer nano-dollars (10**-9 USD), times integer microseconds since 1970 (UTC). What
repeats from call to call (tags, models, price texts) is stored once and referred to by number.
"""

from __future__ import annotations

from sqlalchemy import JSON, Column, Index, LargeBinary, SmallInteger, Text, UniqueConstraint, text
from sqlmodel import Field

from costguard.ledger import tables_alerts, tables_ranges, tables_rollups
from costguard.ledger.tables_base import ID as _ID
from costguard.ledger.tables_base import Base, metadata
from costguard.ledger.tables_base import number as _number
from costguard.ledger.tables_base import small as _small

__all__ = ["Base", "metadata", "tables_alerts", "tables_ranges", "tables_rollups"]


class TagSet(Base, table=True):
    """One combination of tags; `tags` is canonical JSON, `digest` its BLAKE2b-128.

    group_id: the tag set that has those of its tags that are in `costguard.ledger.rollups.COARSE`; may be itself
    """

    __tablename__ = "costguard_tag_sets"
    __table_args__ = (
        UniqueConstraint("digest", name="costguard_tag_sets_digest"),
        Index(
            "costguard_tag_sets_groups", "id",
            sqlite_where=text("group_id = id"), postgresql_where=text("group_id = id"),
        ),
    )  # fmt: skip

    id: int | None = Field(default=None, sa_column=Column("id", _ID, primary_key=True))
    digest: bytes = Field(sa_column=Column("digest", LargeBinary(16), nullable=False))
    tags: dict[str, str] = Field(sa_column=Column("tags", JSON, nullable=False))
    group_id: int | None = Field(default=None, sa_column=_number("group_id", nullable=True))


class Model(Base, table=True):
    """Who answered: provider, model and kind of endpoint; `digest` is the BLAKE2b-128 of the three."""

    __tablename__ = "costguard_models"
    __table_args__ = (UniqueConstraint("digest", name="costguard_models_digest"),)

    id: int | None = Field(default=None, sa_column=Column("id", _ID, primary_key=True))
    digest: bytes = Field(sa_column=Column("digest", LargeBinary(16), nullable=False))
    provider: str = Field(sa_column=Column("provider", Text, nullable=False))
    model: str = Field(sa_column=Column("model", Text, nullable=False))
    operation: str = Field(sa_column=Column("operation", Text, nullable=False))


class Price(Base, table=True):
    """The rates that entries were priced with, as `Rates.dump()` writes them; `digest` is the BLAKE2b-128."""

    __tablename__ = "costguard_prices"
    __table_args__ = (UniqueConstraint("digest", name="costguard_prices_digest"),)

    id: int | None = Field(default=None, sa_column=Column("id", _ID, primary_key=True))
    digest: bytes = Field(sa_column=Column("digest", LargeBinary(16), nullable=False))
    rates: str = Field(sa_column=Column("rates", Text, nullable=False))


class Record(Base, table=True):
    """One entry of the ledger.

    status:   its place in `costguard.ledger.record.STATUSES`
    cost:     NULL where the model has no price; then `reason` says why
    *_tokens: totals; cached reads and writes are part of `input_tokens`, reasoning of `output_tokens`
    buckets:  JSON of the buckets of `Usage` that these columns do not tell, NULL for most calls
    keys:     of the balances, one on each line, that a `lost` or `pending` entry was charged to, so that the truth can
              replace it; NULL once it has
    adjusts:  of an adjustment, the call id of the entry that it corrects
    covers:   and the tokens of that entry, if it had no price before
    moment:   in SQLite `at` is made of it, see `costguard.ledger.record.EPOCH`; there `tables_ranges` leads from a time
              to its rows. In PostgreSQL NULL, which takes no space
    """

    __tablename__ = "costguard_entries"
    __table_args__ = (
        # The row is found by a short number, as that is what each index repeats: with the sixteen bytes
        # of the call id as the primary key, every index of SQLite would carry those.
        UniqueConstraint("call_id", name="costguard_entries_call_id"),
        # In SQLite, where it would be an eighth of a row, it has no row in it, and is there for autogenerate alone.
        Index("costguard_entries_at", "at", sqlite_where=text("id < 0")),
        Index("costguard_entries_tags_id", "tags_id"),
    )

    id: int | None = Field(default=None, sa_column=Column("id", _ID, primary_key=True))
    call_id: bytes = Field(sa_column=Column("call_id", LargeBinary(16), nullable=False))
    at: int = Field(sa_column=_number("at"))
    model_id: int = Field(sa_column=_number("model_id"))
    tags_id: int = Field(sa_column=_number("tags_id"))
    price_id: int | None = Field(default=None, sa_column=_number("price_id", nullable=True))
    cost: int | None = Field(default=None, sa_column=_number("cost", nullable=True))
    input_tokens: int = Field(default=0, sa_column=_number("input_tokens", default="0"))
    output_tokens: int = Field(default=0, sa_column=_number("output_tokens", default="0"))
    cache_read_tokens: int = Field(default=0, sa_column=_number("cache_read_tokens", default="0"))
    cache_write_tokens: int = Field(default=0, sa_column=_number("cache_write_tokens", default="0"))
    reasoning_tokens: int = Field(default=0, sa_column=_number("reasoning_tokens", default="0"))
    buckets: str | None = Field(default=None, sa_column=Column("buckets", Text))
    status: int = Field(default=0, sa_column=_small("status", "0"))
    estimated: int = Field(default=0, sa_column=_small("estimated", "0"))
    streamed: int = Field(default=0, sa_column=_small("streamed", "0"))
    attempts: int = Field(default=1, sa_column=_small("attempts", "1"))
    held: int = Field(default=0, sa_column=_number("held", default="0"))
    duration: int = Field(default=0, sa_column=_number("duration", default="0"))
    response_id: str | None = Field(default=None, sa_column=Column("response_id", Text))
    reason: str | None = Field(default=None, sa_column=Column("reason", Text))
    keys: str | None = Field(default=None, sa_column=Column("keys", Text))
    adjusts: bytes | None = Field(default=None, sa_column=Column("adjusts", LargeBinary(16)))
    covers: int | None = Field(default=None, sa_column=_number("covers", nullable=True))
    moment: int | None = Field(default=None, sa_column=_number("moment", nullable=True))


class Held(Base, table=True):
    """Money set aside for a running call: what is needed to charge it when its owner is gone."""

    __tablename__ = "costguard_holds"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012 - SQLModel reads it as it is

    call_id: bytes = Field(sa_column=Column("call_id", LargeBinary(16), primary_key=True))
    amount: int = Field(sa_column=_number("amount"))
    expires: int = Field(sa_column=_number("expires"))
    at: int = Field(sa_column=_number("at"))
    model_id: int = Field(sa_column=_number("model_id"))
    tags_id: int = Field(sa_column=_number("tags_id"))
    streamed: int = Field(default=0, sa_column=_small("streamed", "0"))
    keys: str = Field(sa_column=Column("keys", Text, nullable=False))


class Balance(Base, table=True):
    """What a payer has spent and holds in one window of one budget.

    budget:   JSON of the rule, as last seen
    payer:    JSON list of [tag, value]
    start, until: of the window; until is NULL for `ever`
    """

    __tablename__ = "costguard_balances"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012 - SQLModel reads it as it is

    key: str = Field(sa_column=Column("key", Text, primary_key=True))
    spent: int = Field(default=0, sa_column=_number("spent", default="0"))
    held: int = Field(default=0, sa_column=_number("held", default="0"))
    start: int = Field(sa_column=_number("start"))
    until: int | None = Field(default=None, sa_column=_number("until", nullable=True))
    payer: str = Field(sa_column=Column("payer", Text, nullable=False))
    budget: str = Field(sa_column=Column("budget", Text, nullable=False))


class Message(Base, table=True):
    """The outbox: a crossing to tell people. Rows stay, so that none is made twice.

    due:       not before this time; 0 at once. A worker that claims it moves it on by its lease
    state:     0 waiting, 1 delivered, 2 given up (`costguard.ledger.outbox`)
    delivered: JSON list of the channels that took it
    """

    __tablename__ = "costguard_outbox"
    __table_args__ = (
        UniqueConstraint("key", name="costguard_outbox_key"),
        Index("costguard_outbox_due", "state", "due"),
    )

    id: int | None = Field(default=None, sa_column=Column("id", _ID, primary_key=True))
    key: str = Field(sa_column=Column("key", Text, nullable=False))
    payload: str = Field(sa_column=Column("payload", Text, nullable=False))
    created: int = Field(sa_column=_number("created"))
    due: int = Field(default=0, sa_column=_number("due", default="0"))
    state: int = Field(default=0, sa_column=_small("state", "0"))
    tries: int = Field(default=0, sa_column=_small("tries", "0"))
    delivered: str = Field(
        default="[]", sa_column=Column("delivered", Text, nullable=False, server_default=text("'[]'"))
    )
    finished: int | None = Field(default=None, sa_column=_number("finished", nullable=True))
    error: str | None = Field(default=None, sa_column=Column("error", Text))


class BudgetRule(Base, table=True):
    """A budget set by people. Rows stay, as the history: the rules in force are those that nobody removed.

    identity: what it counts and for whom, without the limit: a new rule of the same takes its place
    rule:     the budget's text
    """

    __tablename__ = "costguard_budgets"
    __table_args__ = (
        Index(
            "costguard_budgets_current", "identity", unique=True,
            sqlite_where=text("removed IS NULL"), postgresql_where=text("removed IS NULL"),
        ),
    )  # fmt: skip

    id: int | None = Field(default=None, sa_column=Column("id", _ID, primary_key=True))
    identity: str = Field(sa_column=Column("identity", Text, nullable=False))
    rule: str = Field(sa_column=Column("rule", Text, nullable=False))
    author: str = Field(sa_column=Column("author", Text, nullable=False))
    created: int = Field(sa_column=_number("created"))
    removed: int | None = Field(default=None, sa_column=_number("removed", nullable=True))
    removed_by: str | None = Field(default=None, sa_column=Column("removed_by", Text))


class GrantRow(Base, table=True):
    """A top-up of a payer's limit. Rows stay, those that were removed too.

    nonce:   given by who makes it, so that adding it again after a lost connection adds nothing
    account: `Budget.account`, JSON
    payer:   JSON object of the payer's tags
    amount:  integer of `unit`: nano-dollars for "usd"
    """

    __tablename__ = "costguard_grants"
    __table_args__ = (UniqueConstraint("nonce", name="costguard_grants_nonce"),)

    id: int | None = Field(default=None, sa_column=Column("id", _ID, primary_key=True))
    nonce: str = Field(sa_column=Column("nonce", Text, nullable=False))
    account: str = Field(sa_column=Column("account", Text, nullable=False))
    payer: str = Field(sa_column=Column("payer", Text, nullable=False))
    amount: int = Field(sa_column=_number("amount"))
    unit: str = Field(sa_column=Column("unit", Text, nullable=False))
    at: int = Field(sa_column=_number("at"))
    until: int | None = Field(default=None, sa_column=_number("until", nullable=True))
    author: str = Field(sa_column=Column("author", Text, nullable=False))
    reason: str = Field(sa_column=Column("reason", Text, nullable=False))
    removed: int | None = Field(default=None, sa_column=_number("removed", nullable=True))
    removed_by: str | None = Field(default=None, sa_column=Column("removed_by", Text))


class DeedRow(Base, table=True):
    """What people have done to the past, such as a reprice, written in the transaction that did it. Rows stay.

    nonce:   of the deed: what takes several transactions is one row
    details: JSON object
    """

    __tablename__ = "costguard_audit"
    __table_args__ = (UniqueConstraint("nonce", name="costguard_audit_nonce"),)

    id: int | None = Field(default=None, sa_column=Column("id", _ID, primary_key=True))
    nonce: str = Field(sa_column=Column("nonce", Text, nullable=False))
    at: int = Field(sa_column=_number("at"))
    author: str = Field(sa_column=Column("author", Text, nullable=False))
    action: str = Field(sa_column=Column("action", Text, nullable=False))
    reason: str = Field(sa_column=Column("reason", Text, nullable=False))
    details: str = Field(sa_column=Column("details", Text, nullable=False))


class RulesVersion(Base, table=True):
    """One row, whose number grows with every change of budgets or grants, in the same transaction: what workers ask."""

    __tablename__ = "costguard_rules"

    id: int = Field(sa_column=Column("id", SmallInteger, primary_key=True, autoincrement=False))
    version: int = Field(sa_column=_number("version"))
