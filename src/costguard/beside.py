"""What works beside a guard, in threads of its own: who delivers alerts, and who looks for changed budgets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from costguard.budget_set import BudgetSet
from costguard.errors import ConfigError
from costguard.ledger.base import Ledger


def outbox_of(
    ledger: Ledger, channels: tuple[Callable[[Any], Any], ...], schedule: Any = None, dashboard: str | None = None
) -> Any:
    """Only an app that wants to be told loads what tells it. Raises ConfigError for what is no address."""
    if not channels:
        return None
    from costguard.alerts.outbox import Outbox

    try:
        outbox = Outbox(ledger, channels, rounds=None if schedule is None else schedule.rounds, dashboard=dashboard)
    except BaseException:
        ledger.close()
        raise
    if schedule is not None:
        schedule.shout = outbox.shout
    return outbox


def rules_of(rules: Iterable[Any], file: str | Path | None, *, channels: bool) -> tuple[Any, ...]:
    """The alert rules of an app; those of its file are read as well, so that a mistake is found before anything is
    opened. Raises ConfigError for one, and where nobody would be told."""
    if file is None and not rules:
        return ()
    from costguard.alerts.rules import read_rules, rules_of_file

    of_app = read_rules(rules)
    if of_app and not channels:
        raise ConfigError("alert_rules need a channel to tell: alerts=[slack(url)], or alerts=[log_channel()]")
    if file is not None:
        rules_of_file(file, lenient=True)
    return of_app


def schedule_of(  # noqa: PLR0917 - parts of one guard
    ledger: Ledger,
    rules: tuple[Any, ...],
    budgets: BudgetSet,
    wake: Callable[[], None],
    file: str | Path | None = None,
    refusals: Any = None,
) -> Any:
    """Who looks at the alert rules, and from time to time at the outbox; `wake`: of a guard with channels."""
    from costguard.alerts.schedule import Schedule

    return Schedule(ledger, rules, budgets, wake=wake, file=file, refusals=refusals)


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
