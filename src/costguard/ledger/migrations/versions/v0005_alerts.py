"""What scheduled alert rules remember, counts of refusals, and mutes.

Only new tables: workers of the version before go on while it runs.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _text(name: str, *, key: bool = False, nullable: bool = False, default: str | None = None) -> sa.Column[str]:
    given = None if default is None else sa.text(default)
    return sa.Column(name, sa.Text, primary_key=key, nullable=nullable, server_default=given)


def _number(name: str, *, nullable: bool = False, default: str | None = None) -> sa.Column[int]:
    given = None if default is None else sa.text(default)
    return sa.Column(name, sa.BigInteger, nullable=nullable, server_default=given)


def upgrade() -> None:
    op.create_table(
        "costguard_alert_rules",
        _text("rule", key=True),
        _number("done", default="0"),
        _number("until", default="0"),
        _number("lease", default="0"),
        _text("memory", default="'{}'"),
    )
    op.create_table(
        "costguard_alert_counts",
        sa.Column("at", sa.BigInteger, primary_key=True, autoincrement=False),
        _text("name", key=True),
        _text("subject", key=True),
        _number("count"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "costguard_mutes",
        sa.Column("id", _ID, primary_key=True),
        _text("kind"),
        _text("budget"),
        _text("payer"),
        _number("until", nullable=True),
        _text("author"),
        _text("reason"),
        _number("created"),
        _number("removed", nullable=True),
        _text("removed_by", nullable=True),
    )
    op.create_index("costguard_mutes_current", "costguard_mutes", ["removed", "until"])


def downgrade() -> None:
    for table in ("costguard_mutes", "costguard_alert_counts", "costguard_alert_rules"):
        op.drop_table(table)
