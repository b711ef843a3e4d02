"""What an app asks a guard: where its budgets stand, what was spent, and what something would cost."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from costguard.admission import Admission
from costguard.budget_set import BudgetSet
from costguard.budgets import Budget, Standing
from costguard.events import Entry
from costguard.health import Health, health_of
from costguard.ledger.base import Ledger
from costguard.money import from_nanos
from costguard.overshoot import Overshoot
from costguard.pricing.book import PriceBook
from costguard.pricing.receipt import Receipt
from costguard.pricing.usage import Usage
from costguard.recorder import Recorder
from costguard.settings import moment_ns, since_ns
from costguard.tags import Tags, current_tags


class Asking:
    """The part of a `Guard` that changes nothing."""

    ledger: Ledger
    _admission: Admission
    _book: PriceBook
    _budgets: BudgetSet
    _outbox: Any
    _overshoot: Overshoot
    _recorder: Recorder

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """All budgets, those of route decorators included once their route was called."""
        return tuple(self._budgets)

    def check(self, tags: Tags | Mapping[str, object] | None = None) -> None:
        """Raise `BudgetExceeded` if a budget that these tags (default: the current ones) fall under is spent."""
        self._admission.check(_tags(tags))

    async def check_async(self, tags: Tags | Mapping[str, object] | None = None) -> None:
        """`check` for async code: a store over the network is asked in another thread."""
        await self._admission.check_async(_tags(tags))

    def standings(self, **tags: object) -> list[Standing]:
        """The budgets that a call with these tags counts against, and where they stand.

        Those on a single call or request are not among them: they are counted anew for each.
        """
        now = time.time_ns()
        limits = self._admission.counted(self._budgets.limits(Tags(tags), now), now)
        balances = self.ledger.balances(limits)
        return [limit.standing(spent, held) for limit, (spent, held) in zip(limits, balances, strict=True)]

    async def standings_async(self, **tags: object) -> list[Standing]:
        """`standings` for async code: a store over the network is asked in another thread."""
        return await self._admission.off_loop(partial(self.standings, **tags))

    def spent(self, *, since: datetime | timedelta | None = None, **tags: object) -> Decimal:
        """USD recorded for calls with these tags, all time, or since a moment (or that long ago)."""
        return from_nanos(self.ledger.spent(Tags(tags), since_ns=since_ns(since)))

    def entries(self, *, since: datetime | timedelta | None = None, limit: int = 1000, **tags: object) -> list[Entry]:
        """The ledger's entries with these tags, newest first."""
        return self.ledger.entries(Tags(tags), since_ns=since_ns(since), limit=limit)

    def health(self, *, here: bool = False) -> Health:
        """What waits: entries for the store, alerts for their channel. StoreUnavailable if the store cannot say.

        here: this process alone; the store is not asked, and `alerts_undelivered` is 0, as for a guard without channels
        """
        return health_of(self.ledger, self._recorder, alerts=self._outbox is not None and not here)

    @property
    def overshoot(self) -> Decimal:
        """USD by which calls of this process can have passed limits, as they cost more than was held for them.

        An upper bound, zero with `strict` holds. `overshoots` has it by budget.
        """
        return from_nanos(self._overshoot.nanos)

    @property
    def overshoots(self) -> dict[str, Decimal]:
        """The same by the title of the budget, in its unit; those that were not passed are left out."""
        return self._overshoot.by_budget

    def price(
        self,
        provider: str,
        model: str,
        usage: Usage | Mapping[str, int],
        at: datetime | None = None,
        **context: object,
    ) -> Receipt:
        """What a usage costs: the arithmetic alone. `context`: service_tier="flex", batch=True, ...

        An unknown model gives a receipt whose `cost` is None, with the `reason`.
        """
        if not isinstance(usage, Usage):
            usage = Usage.read(usage)
        facts = {name: str(value).lower() for name, value in context.items() if value not in (None, False)}
        moment = moment_ns(at or datetime.now(UTC))
        return self._book.receipt(provider, model, usage, moment, tuple(sorted(facts.items())))


def _tags(tags: Tags | Mapping[str, object] | None) -> Tags:
    return current_tags() if tags is None else tags if isinstance(tags, Tags) else Tags(tags)
