"""Entries, holds, balances, outbox, and the dictionaries of tag sets, models and prices.

PostgreSQL keeps the entries by month, and has the usual case of the verbs of a call as functions (`functions_0001`).
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from costguard.ledger.migrations.functions_0001 import FUNCTIONS, NAMES

revision = "0001"
down_revision = None
branch_labels = ("costguard",)
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _id() -> sa.Column[int]:
    return sa.Column("id", _ID, primary_key=True)


def _number(name: str, *, nullable: bool = False, default: str | None = None) -> sa.Column[int]:
    server_default = None if default is None else sa.text(default)
    return sa.Column(name, sa.BigInteger, nullable=nullable, server_default=server_default)


def _small(name: str, default: str) -> sa.Column[int]:
    return sa.Column(name, sa.SmallInteger, nullable=False, server_default=sa.text(default))


def _digest() -> sa.Column[bytes]:
    return sa.Column("digest", sa.LargeBinary(16), nullable=False)


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=nullable)


def upgrade() -> None:
    postgres = op.get_bind().dialect.name == "postgresql"
    op.create_table(
        "costguard_tag_sets", _id(), _digest(), sa.Column("tags", sa.JSON, nullable=False),
        sa.UniqueConstraint("digest", name="costguard_tag_sets_digest"),
    )  # fmt: skip
    op.create_table(
        "costguard_models", _id(), _digest(), _text("provider"), _text("model"), _text("operation"),
        sa.UniqueConstraint("digest", name="costguard_models_digest"),
    )  # fmt: skip
    op.create_table(
        "costguard_prices", _id(), _digest(), _text("rates"),
        sa.UniqueConstraint("digest", name="costguard_prices_digest"),
    )  # fmt: skip
    number = _id()
    if postgres:
        # A key of a partitioned table has the partition's column in it, and the one that must be unique is the call.
        op.execute("CREATE SEQUENCE costguard_entries_id_seq AS bigint")
        default = sa.text("nextval('costguard_entries_id_seq')")
        number = sa.Column("id", sa.BigInteger, nullable=False, server_default=default)
    op.create_table(
        "costguard_entries",
        number,
        sa.Column("call_id", sa.LargeBinary(16), nullable=False),
        _number("at"),
        _number("model_id"),
        _number("tags_id"),
        _number("price_id", nullable=True),
        _number("cost", nullable=True),
        _number("input_tokens", default="0"),
        _number("output_tokens", default="0"),
        _number("cache_read_tokens", default="0"),
        _number("cache_write_tokens", default="0"),
        _number("reasoning_tokens", default="0"),
        _text("buckets", nullable=True),
        _small("status", "0"),
        _small("estimated", "0"),
        _small("streamed", "0"),
        _small("attempts", "1"),
        _number("held", default="0"),
        _number("duration", default="0"),
        _text("response_id", nullable=True),
        _text("reason", nullable=True),
        _text("keys", nullable=True),
        sa.UniqueConstraint("call_id", name="costguard_entries_call_id"),
        # The first six bytes of a call id are its time (UUIDv7): a month of calls is a range of ids, and an id
        # has its place in one partition only. By the column `at` two rows could have the same id.
        postgresql_partition_by="RANGE (call_id)",
    )
    op.create_index("costguard_entries_at", "costguard_entries", ["at"])
    op.create_index("costguard_entries_tags_id", "costguard_entries", ["tags_id"])
    op.create_table(
        "costguard_holds",
        sa.Column("call_id", sa.LargeBinary(16), primary_key=True),
        _number("amount"),
        _number("expires"),
        _number("at"),
        _number("model_id"),
        _number("tags_id"),
        _small("streamed", "0"),
        _text("keys"),
        sqlite_with_rowid=False,
        # Rows live as long as a call: the dead ones are many beside them, whatever their share of the table.
        postgresql_with={"autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 2000},
    )
    op.create_table(
        "costguard_balances",
        sa.Column("key", sa.Text, primary_key=True),
        _number("spent", default="0"),
        _number("held", default="0"),
        _number("start"),
        _number("until", nullable=True),
        _text("payer"),
        _text("budget"),
        sqlite_with_rowid=False,
        # Free space on each page, so that a changed row stays on it and no index is touched.
        postgresql_with={"fillfactor": 50, "autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 2000},
    )
    op.create_table(
        "costguard_outbox",
        _id(),
        _text("key"),
        _text("payload"),
        _number("created"),
        _number("due", default="0"),
        _small("state", "0"),
        _small("tries", "0"),
        sa.Column("delivered", sa.Text, nullable=False, server_default=sa.text("'[]'")),
        _number("finished", nullable=True),
        _text("error", nullable=True),
        sa.UniqueConstraint("key", name="costguard_outbox_key"),
    )
    op.create_index("costguard_outbox_due", "costguard_outbox", ["state", "due"])
    if postgres:
        op.execute("ALTER SEQUENCE costguard_entries_id_seq OWNED BY costguard_entries.id")
        op.execute("CREATE TABLE costguard_entries_default PARTITION OF costguard_entries DEFAULT")
        for function in FUNCTIONS:
            op.execute(function)


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for name in NAMES:
            op.execute(f"DROP FUNCTION {name}")
    for table in ("outbox", "balances", "holds", "entries", "prices", "models", "tag_sets"):
        op.drop_table(f"costguard_{table}")
