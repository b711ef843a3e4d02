"""What both example apps share: the guard's settings, the models, and a stand-in for sign-in.

Each app runs in processes of its own. What they share at run time is the ledger: one SQLite file.
"""

from __future__ import annotations

import os
from decimal import Decimal
from typing import Any, Literal

from costguard import Budget, Guard, slack
from costguard.dashboard import Person

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


ROLES: dict[str, Literal["viewer", "operator"]] = {"alice": "operator", "bob": "viewer"}


def who_sees_costs(request: Any) -> Person | None:
    """Who may open the dashboard at /costs: alice may change budgets, bob may look, nobody else is let in.

    With DEV=1 a browser without a session is alice: for trying it on your own machine, never for a server.
    """
    user = signed_in_user(request) or ("alice" if os.environ.get("DEV") == "1" else None)
    role = ROLES.get(user or "")
    return None if user is None or role is None else Person(role, user)


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
