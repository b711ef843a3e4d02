"""What works beside a guard, in threads of its own: who delivers alerts, and who looks for changed budgets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from costguard.budget_set import BudgetSet
from costguard.ledger.base import Ledger


def outbox_of(ledger: Ledger, channels: tuple[Callable[[Any], Any], ...]) -> Any:
    """Only an app that wants to be told loads what tells it."""
    if not channels:
        return None
    from costguard.alerts.outbox import Outbox

    return Outbox(ledger, channels)


def source_of(budgets: BudgetSet, ledger: Ledger, file: str | Path | None) -> Any:
    """Rules of a file, and those that people set in the database; a store in memory has none of its own."""
    if file is None and ledger.url.startswith("memory:"):
        return None
    from costguard.budget_source import BudgetSource

    source = BudgetSource(budgets, ledger, file)
    try:
        source.start()
    except BaseException:
        ledger.close()
        raise
    return source
