"""What a worker of the proofs has loaded before it is forked: a second that it need not spend again."""

from __future__ import annotations

import psycopg
import redis
import sqlalchemy.dialects.postgresql.psycopg
import sqlalchemy.dialects.sqlite
from openai import AsyncOpenAI, OpenAI

from costguard import Guard
from costguard.ledger import journal, leases, postgres, queries, sqlite, valkey
from tests.enforcement import proof_runs, proof_victims

LOADED = (
    psycopg, redis, sqlalchemy, AsyncOpenAI, OpenAI, journal, leases, postgres, queries, sqlite, valkey, proof_runs,
    proof_victims,
)  # fmt: skip

Guard("memory://").close()
