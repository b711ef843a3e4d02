"""All budgets of a guard, from code, file and database, and which of them a call's tags fall under."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from threading import Lock
from typing import cast
from weakref import WeakSet

from costguard.budgets import Budget, Computed, Limit
from costguard.errors import ConfigError
from costguard.families import check_ties, families
from costguard.grants import NEVER, Grant
from costguard.tags import Tags

log = logging.getLogger("costguard")

SOURCES = ("code", "file", "database")
"""Where rules come from. One of the same account and for the same payers is overruled by that of a later source."""

MOST_CACHED = 4096
"""Tag sets whose limits are kept ready; tag values may come from clients, so the cache has an end."""

COMPUTED_NS = 5 * 10**9
"""How long a limit that a callable computed is used for the same tags."""

_Ready = tuple[int, int, tuple[Limit, ...], tuple[Limit, ...]]
_NO_GRANTS: tuple[Grant, ...] = ()

_sets: WeakSet[BudgetSet] = WeakSet()


class BudgetSet:
    """Budgets by source, in the order they were given. Thread-safe; rules may change while calls are running."""

    def __init__(self, budgets: Iterable[Budget | str] = ()) -> None:
        self._rules: dict[str, dict[str, Budget]] = {source: {} for source in SOURCES}
        self._grants: dict[str, tuple[Grant, ...]] = dict.fromkeys(SOURCES, ())
        self._merged: dict[str, Budget] = {}
        self._families = families(())
        self._granted: dict[tuple[str, tuple[tuple[str, str], ...]], tuple[Grant, ...]] = {}
        self._ready: dict[Tags, _Ready] = {}
        self._computed: dict[tuple[Budget, Tags], Budget | None] = {}
        self._has_local = False
        self.forked()
        _sets.add(self)
        if isinstance(budgets, (str, Budget)):
            raise ConfigError(f"budgets must be a list, not one budget: budgets=[{str(budgets)!r}]")
        self.replace("code", budgets)

    def forked(self) -> None:
        """In a child process, where the thread that may have held the lock is not."""
        self._changing = Lock()

    def add(self, budget: Budget | str) -> Budget:
        """Add a budget; the same one twice is one. Raises ConfigError if another counts the same account."""
        if not isinstance(budget, Budget):
            budget = Budget.parse(budget)
        with self._changing:
            rules = dict(self._rules["code"])
            added = _enter(rules, budget)
            check_ties(rules.values())
            self._change("code", rules, self._grants["code"])
        return added

    def replace(self, source: str, budgets: Iterable[Budget | str], grants: Iterable[Grant] = ()) -> None:
        """Swap all rules and grants of one source for these, at once: a call sees the old ones or the new ones.

        Balances stay, as they are kept by account: a changed limit keeps what was spent.
        Raises ConfigError, and changes nothing, for a source that is not known and for rules that contradict
        each other.
        """
        if source not in SOURCES:
            raise ConfigError(f"source {source!r} of budgets is not one of {', '.join(SOURCES)}")
        rules: dict[str, Budget] = {}
        for budget in budgets:
            _enter(rules, budget if isinstance(budget, Budget) else Budget.parse(budget))
        check_ties(rules.values())
        with self._changing:
            self._change(source, rules, tuple(grants))

    def set_grants(self, grants: Iterable[Grant], source: str = "code") -> None:
        """Swap the grants of one source for these."""
        with self._changing:
            self._change(source, self._rules[source], tuple(grants))

    def grant(self, grant: Grant) -> None:
        """Add a grant, in this process alone."""
        with self._changing:
            self._change("code", self._rules["code"], (*self._grants["code"], grant))

    def _change(self, source: str, rules: dict[str, Budget], grants: tuple[Grant, ...]) -> None:
        self._rules[source] = rules
        self._grants[source] = grants
        merged: dict[str, Budget] = {}
        granted: dict[tuple[str, tuple[tuple[str, str], ...]], tuple[Grant, ...]] = {}
        for each in SOURCES:
            merged.update(self._rules[each])
            for grant in self._grants[each]:
                account = (grant.account, grant.payer)
                granted[account] = (*granted.get(account, ()), grant)
        self._merged = merged
        self._families = families(merged.values())
        self._granted = granted
        self._has_local = any(budget.is_local for budget in merged.values())
        # Replaced, not cleared, and last: a thread that still looks at the old rules writes to the old one.
        self._ready = {}

    def limits(self, tags: Tags, at_ns: int) -> tuple[Limit, ...]:
        """The limits that a call with these tags, made at this moment, counts against in the ledger, in key order.

        Raises ConfigError if one is computed by a callable that fails, and never gave a limit for these tags.
        """
        ready = self._ready.get(tags)
        if ready is not None and ready[0] <= at_ns < ready[1]:
            return ready[2]
        return self._look(tags, at_ns)[2]

    def local_limits(self, tags: Tags, at_ns: int) -> tuple[Limit, ...]:
        """The limits on one call and on one request that a call with these tags has; no ledger knows them."""
        if not self._has_local:
            return ()
        ready = self._ready.get(tags)
        if ready is not None and ready[0] <= at_ns < ready[1]:
            return ready[3]
        return self._look(tags, at_ns)[3]

    def _look(self, tags: Tags, at_ns: int) -> _Ready:
        known = self._ready
        since, until = 0, NEVER
        found: list[Limit] = []
        for family in self._families:
            if not family.any.counts(tags):
                continue
            for rules in family.matching(tags):
                limits = []
                for rule in rules:
                    fixed: Budget | None = rule
                    if not isinstance(rule.limit, Decimal):
                        fixed = self._compute(rule, tags)
                        until = min(until, at_ns + COMPUTED_NS)
                    if fixed is not None:
                        limits.append(fixed.limit_for(tags, at_ns))
                if limits:
                    # Rules of two sources may be equally specific.
                    limit = min(limits, key=lambda limit: limit.most)
                    grants = self._granted.get((limit.budget.account, limit.payer), _NO_GRANTS)
                    if grants:
                        limit, since, until = _with_grants(limit, grants, tags, at_ns, since, until)
                    found.append(limit)
                    break
        found.sort(key=lambda limit: limit.key)
        since = max([since, *(limit.start for limit in found)])
        until = min([until, *(limit.end or NEVER for limit in found)])
        ready = (
            since, until,
            tuple([limit for limit in found if not limit.budget.is_local]),
            tuple([limit for limit in found if limit.budget.is_local]),
        )  # fmt: skip
        if len(known) >= MOST_CACHED:
            known.clear()
        known[tags] = ready
        return ready

    def _compute(self, rule: Budget, tags: Tags) -> Budget | None:
        """The rule with the limit that its callable gives; the last one it gave if it fails."""
        computed = self._computed
        key = (rule, tags)
        compute = cast("Computed", rule.limit)
        try:
            limit = compute(tags)
            fixed = None if limit is None else replace(rule, limit=cast("Decimal", limit))
        except Exception as error:
            if key in computed:
                log.exception("the limit of budget %r could not be computed; the last one stays", rule.name)
                return computed[key]
            raise ConfigError(
                f"the limit of budget {rule.name!r} could not be computed by {rule.limit!r} for {tags!r}: "
                f"{type(error).__name__}: {error}"
            ) from error
        if len(computed) >= MOST_CACHED:
            computed.clear()
        computed[key] = fixed
        return fixed

    def origins(self) -> list[tuple[str, Budget]]:
        """Every rule with its source, the overruled ones left out."""
        rules = tuple(self._merged.items())
        return [(next(s for s in reversed(SOURCES) if key in self._rules[s]), rule) for key, rule in rules]

    @property
    def grants(self) -> Sequence[Grant]:
        """Those of all sources."""
        return [grant for source in SOURCES for grant in self._grants[source]]

    def __iter__(self) -> Iterator[Budget]:
        return iter(tuple(self._merged.values()))

    def __len__(self) -> int:
        return len(self._merged)


def _enter(rules: dict[str, Budget], budget: Budget) -> Budget:
    other = rules.setdefault(budget.identity, budget)
    if other != budget:
        raise ConfigError(
            f'budgets "{other}" and "{budget}" count the same calls in the same window; keep the one you mean'
        )
    return other


def _with_grants(  # noqa: PLR0917 - two pairs and what they are narrowed by
    limit: Limit, grants: tuple[Grant, ...], tags: Tags, at_ns: int, since: int, until: int
) -> tuple[Limit, int, int]:
    """The limit with what is granted at this moment, and from when until when that is so."""
    granted = 0
    for grant in grants:
        begins, ends = grant.in_force(limit)
        if begins <= at_ns < ends:
            granted += grant.most
        for moment in (begins, ends):
            if moment <= at_ns:
                since = max(since, moment)
            else:
                until = min(until, moment)
    return (limit.budget.limit_for(tags, at_ns, granted) if granted else limit), since, until


def _after_fork() -> None:
    for each in list(_sets):
        each.forked()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork)
