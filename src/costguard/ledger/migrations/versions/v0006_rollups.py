"""What entries add up to by day and hour, filled from the entries that are there.

End the workers of the version before first: what they write from then on is not added up, until
`costguard check --rebuild`.
"""

from __future__ import annotations

import json
from hashlib import blake2b

import sqlalchemy as sa
from alembic import op

from costguard.ledger.buckets import bucket
from costguard.ledger.migrations.functions_0006 import DROPPED, FUNCTIONS
from costguard.ledger.rollups import COARSE, DAY
from costguard.ledger.rollups_sql import BUCKET, KEYS, POSTGRES_BUCKET, SQLITE_BUCKET, VALUES, added_up, change

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_TABLES = ("spreads", "hours", "days", "tag_values")
_SMALL = {"day": sa.Integer, "hour": sa.Integer, "status": sa.SmallInteger, "part": sa.SmallInteger}
_LOT = 10_000
"""Tag sets that are in memory at once."""


def _key(name: str) -> sa.Column[int]:
    return sa.Column(name, _SMALL.get(name, sa.BigInteger), primary_key=True, autoincrement=False)


def upgrade() -> None:
    connection = op.get_bind()
    postgres = connection.dialect.name == "postgresql"
    if postgres:
        # Nobody writes entries while they are added up.
        op.execute("LOCK TABLE costguard_entries IN SHARE ROW EXCLUSIVE MODE")
    op.add_column("costguard_tag_sets", sa.Column("group_id", sa.BigInteger, nullable=True))
    own = sa.text("group_id = id")
    op.create_index("costguard_tag_sets_groups", "costguard_tag_sets", ["id"], sqlite_where=own, postgresql_where=own)
    op.create_table(
        "costguard_tag_values",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, primary_key=True),
        _key("tags_id"),
        sqlite_with_rowid=False,
    )
    for table, keys in KEYS.items():
        op.create_table(
            f"costguard_{table}",
            *[_key(name) for name in keys],
            *[sa.Column(name, sa.BigInteger, nullable=False) for name in VALUES[table]],
            sqlite_with_rowid=False,
            # Free space on each page, so that a changed row stays on it and no index is touched.
            postgresql_with={"fillfactor": 70},
        )
    if postgres:
        for function in FUNCTIONS:
            op.execute(function)
    _group(connection)
    _fill(connection, postgres)


def _group(connection: sa.Connection) -> None:
    after = 0
    groups: dict[str, int] = {}
    while lot := connection.execute(
        sa.text("SELECT id, tags FROM costguard_tag_sets WHERE id > :after ORDER BY id LIMIT :lot"),
        {"after": after, "lot": _LOT},
    ).fetchall():
        after = lot[-1][0]
        changed, values = [], []
        for tags_id, text in lot:
            tags = json.loads(text) if isinstance(text, str) else text
            coarse = {name: tags[name] for name in COARSE if name in tags}
            canonical = json.dumps(coarse, separators=(",", ":"), ensure_ascii=False)
            if canonical not in groups:
                groups[canonical] = _group_id(connection, canonical)
            changed.append({"id": tags_id, "group_id": groups[canonical]})
            values += [
                {"name": name, "value": value, "id": tags_id} for name, value in tags.items() if name not in COARSE
            ]
        connection.execute(sa.text("UPDATE costguard_tag_sets SET group_id = :group_id WHERE id = :id"), changed)
        if values:
            insert = "INSERT INTO costguard_tag_values (name, value, tags_id) VALUES (:name, :value, :id)"
            connection.execute(sa.text(insert + " ON CONFLICT (name, value, tags_id) DO NOTHING"), values)


def _group_id(connection: sa.Connection, canonical: str) -> int:
    digest = blake2b(json.dumps([canonical]).encode(), digest_size=16).digest()
    find = sa.text("SELECT id FROM costguard_tag_sets WHERE digest = :digest")
    found = connection.execute(find, {"digest": digest}).scalar()
    if found is None:
        insert = "INSERT INTO costguard_tag_sets (digest, tags) VALUES (:digest, :tags)"
        connection.execute(sa.text(insert), {"digest": digest, "tags": canonical})
        found = connection.execute(find, {"digest": digest}).scalar()
        connection.execute(sa.text("UPDATE costguard_tag_sets SET group_id = id WHERE id = :id"), {"id": found})
    return int(found or 0)


def _fill(connection: sa.Connection, postgres: bool) -> None:
    if not postgres:
        made = connection.connection.driver_connection
        made.create_function(BUCKET, 1, bucket, deterministic=True)  # type: ignore[union-attr]  # it is there
    of = POSTGRES_BUCKET if postgres else SQLITE_BUCKET
    first = connection.exec_driver_sql("SELECT min(at) FROM costguard_entries").scalar()
    while first is not None:
        # A day at a time, and on to the next one that has entries.
        begin = first // DAY * DAY
        when = f"e.at >= {begin} AND e.at < {begin + DAY}"
        for table in KEYS:
            connection.exec_driver_sql(change(table, added_up(table, when=when, bucket=of)))
        first = connection.exec_driver_sql(f"SELECT min(at) FROM costguard_entries WHERE at >= {begin + DAY}").scalar()


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for statement in DROPPED:
            op.execute(statement)
    for table in _TABLES:
        op.drop_table(f"costguard_{table}")
    op.drop_index("costguard_tag_sets_groups", "costguard_tag_sets")
    op.drop_column("costguard_tag_sets", "group_id")
