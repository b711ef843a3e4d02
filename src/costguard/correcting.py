"""The part of a guard that corrects the past."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from costguard.budget_set import BudgetSet
from costguard.ledger.base import Ledger
from costguard.pricing.book import PriceBook
from costguard.repricing import Repricing

if TYPE_CHECKING:
    from costguard.reports.period import When


class Correcting:
    """See `Guard`."""

    ledger: Ledger
    _book: PriceBook
    _budgets: BudgetSet

    def _wake(self) -> None:
        raise NotImplementedError

    def reprice(
        self,
        *,
        since: When = None,
        until: When = None,
        dry_run: bool = True,
        author: str | None = None,
        reason: str = "",
        **more: Any,
    ) -> Repricing:
        """Price past calls anew by this guard's prices, as `costguard reprice` does; `more`: see `reprice.reprice`.

        since, until: of the calls: a datetime, a timedelta before now, or text ("7d", "2026-11-01"); None: all
        dry_run: only tell what differs; False: record it as adjustments, which count in budgets and reports
        author, reason: kept with them; the author is the login name if not given

        Raises ConfigError for what cannot be read, StoreUnavailable.
        """
        from costguard.reprice import reprice

        found = reprice(
            self.ledger, self._book, since=since, until=until, dry_run=dry_run, author=author, reason=reason,
            budgets=tuple(self._budgets), **more,
        )  # fmt: skip
        if found.crossings:
            self._wake()
        return found
