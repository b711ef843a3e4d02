"""What works beside a guard, in threads of its own: who delivers alerts, and who looks for changed budgets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from costguard.budget_set import BudgetSet
from costguard.errors import ConfigError
from costguard.ledger.base import Ledger


def outbox_of(ledger: Ledger, channels: tuple[Callable[[Any], Any], ...], schedule: Any = None) -> Any:
    """Only an app that wants to be told loads what tells it."""
    if not channels:
        return None
    from costguard.alerts.outbox import Outbox

    return Outbox(ledger, channels, rounds=None if schedule is None else schedule.rounds)


def rules_of(rules: Iterable[Any], file: str | Path | None, *, channels: bool) -> tuple[Any, ...]:
    """The alert rules of an app and of its file. Raises ConfigError where nobody would be told."""
    if file is None and not rules:
        return ()
    from costguard.alerts.rules import read_rules, rules_of_file

    of_app = read_rules(rules)
    found = read_rules([*of_app, *(() if file is None else rules_of_file(file, lenient=True))])
    if of_app and not channels:
        raise ConfigError("alert_rules need a channel to tell: alerts=[slack(url)], or alerts=[log_channel()]")
    return found if channels else ()


def schedule_of(ledger: Ledger, rules: tuple[Any, ...], budgets: BudgetSet, wake: Callable[[], None]) -> Any:
    """Who looks at the alert rules; None without any."""
    if not rules:
        return None
    from costguard.alerts.schedule import Schedule

    return Schedule(ledger, rules, budgets, wake=wake)


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
