"""What both example apps share: the guard's settings, the models, and a stand-in for sign-in.

Each app runs in processes of its own. What they share at run time is the ledger: one SQLite file.
"""

from __future__ import annotations

import os
from decimal import Decimal
from typing import Any

from costguard import Budget, Guard, slack

OPENAI_MODEL = os.environ.get("OPENAI_MODEL", "gpt-4o")
ANTHROPIC_MODEL = os.environ.get("ANTHROPIC_MODEL", "claude-sonnet-4-5")
EMBEDDING_MODEL = "text-embedding-3-small"
MAX_TOKENS = int(os.environ.get("MAX_TOKENS", "400"))

SESSIONS = {"session-of-alice": "alice", "session-of-bob": "bob", "session-of-carol": "carol"}


def signed_in_user(request: Any) -> str | None:
    """The user of a request, from what the app itself issued and checks: never from a name the client sends.

    Works on Starlette's and on Flask's request. None for a visitor: costguard then says `unattributed`.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return SESSIONS.get(token) if scheme.lower() == "bearer" else None


def open_guard() -> Guard:
    """One guard per process. A budget for each user, one for everybody, and Slack if there is a webhook."""
    webhook = os.environ.get("SLACK_WEBHOOK_URL")
    per_user = Decimal(os.environ.get("USER_BUDGET", "0.05"))
    guard = Guard(
        os.environ.get("COSTGUARD_STORE", "sqlite:///costs.db"),
        budgets=[Budget(per_user, "day", per=("user",), alerts=(Decimal(1),)), "$500/month"],
        alerts=[slack(webhook)] if webhook else [],
    )
    guard.instrument()
    return guard
