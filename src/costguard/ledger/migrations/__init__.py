"""Alembic environment of the ledger; see `costguard.ledger.migrate`."""
