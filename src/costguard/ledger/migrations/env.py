"""Run by Alembic, with the connection that `costguard.ledger.migrate.upgrade` was given."""

from alembic import context

from costguard.ledger.migrate import VERSION_TABLE
from costguard.ledger.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,
)
# No transaction of its own: the caller's, which also locks out others who are opening the same store.
context.run_migrations()
