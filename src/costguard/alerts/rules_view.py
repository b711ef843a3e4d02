"""What alert rules look at: the spending of a time by payer, from the ledger now, or from a past that was read once."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import add, attrgetter, sub
from typing import Protocol

from costguard.budget_set import BudgetSet
from costguard.ledger.alert_state import Count, alert_state
from costguard.ledger.base import Ledger
from costguard.ledger.beats import BEAT_NS, Beat, DearCall, beats, dear_calls

Where = Sequence[tuple[str, str]]


@dataclass(slots=True)
class Figure:
    """What one group adds up to. `cost` in nano-dollars; only `View.tries` knows the tries, else they are the calls.

    group: the values of the names asked for
    """

    group: tuple[str, ...]
    calls: int = 0
    cost: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    unpriced_calls: int = 0
    errors: int = 0
    tries: int = 0

    def add(self, counts: Iterable[int], sign: int = 1) -> None:
        for name, count in zip(COUNTS, counts, strict=True):
            setattr(self, name, getattr(self, name) + sign * count)

    def on(self, unit: str) -> int:
        """In the unit of a budget, an integer at rest; failed calls are none."""
        if unit == "usd":
            return self.cost
        return self.input_tokens + self.output_tokens if unit == "tokens" else self.calls - self.errors


_MOST_UNITED = 288
"""Beats whose groups are looked for one by one: of a longer time all groups are taken."""

COUNTS = ("calls", "cost", "input_tokens", "output_tokens", "unpriced_calls", "errors", "tries")
_counts = attrgetter(*COUNTS)


class View(Protocol):
    """All times are nanoseconds since 1970; the end is not included."""

    @property
    def budgets(self) -> BudgetSet: ...

    def sums(
        self, by: Sequence[str], where: Where, since_ns: int, until_ns: int, *, active_ns: int | None = None
    ) -> list[Figure]:
        """By tags, "provider" or "model", dearest first; at least those groups that did anything since `active_ns`."""
        ...

    def tries(self, by: Sequence[str], where: Where, since_ns: int, until_ns: int) -> list[Figure]:
        """The same with the tries counted; for a short time."""
        ...

    def dear(self, nanos: int, since_ns: int, until_ns: int) -> list[DearCall]:
        """The calls that cost at least so much, oldest first."""
        ...

    def counts(self, name: str, since_ns: int, until_ns: int) -> list[Count]:
        """What was counted beside the entries, such as "refused"."""
        ...


class LedgerView:
    """The ledger as it is."""

    def __init__(self, ledger: Ledger, budgets: BudgetSet) -> None:
        self._ledger = ledger
        self.budgets = budgets

    def sums(
        self, by: Sequence[str], where: Where, since_ns: int, until_ns: int, *, active_ns: int | None = None
    ) -> list[Figure]:
        return [
            Figure(
                tuple([one.group[name] for name in by]), one.calls, one.cost, one.input_tokens, one.output_tokens,
                one.unpriced_calls, one.errors, one.calls,
            )
            for one in self._ledger.sums(tuple(by), dict(where), since_ns=since_ns, until_ns=until_ns)
        ]  # fmt: skip

    def tries(self, by: Sequence[str], where: Where, since_ns: int, until_ns: int) -> list[Figure]:
        return Steps(beats(self._ledger, since_ns, until_ns)).sums(by, where, since_ns, until_ns)

    def dear(self, nanos: int, since_ns: int, until_ns: int) -> list[DearCall]:
        return dear_calls(self._ledger, nanos, since_ns, until_ns)

    def counts(self, name: str, since_ns: int, until_ns: int) -> list[Count]:
        return alert_state(self._ledger).counts(name, since_ns, until_ns)


class Steps:
    """Beats added up quickly for any time that begins and ends on one: running totals of each group."""

    def __init__(self, those: Sequence[Beat]) -> None:
        self._beats = those
        self._at = [beat.at_ns for beat in those]
        self._indexes: dict[tuple[tuple[str, ...], tuple[tuple[str, str], ...]], _Index] = {}

    @property
    def moments(self) -> Sequence[int]:
        """When the beats begin, oldest first."""
        return self._at

    def any(self, since_ns: int, until_ns: int) -> bool:
        return bisect_left(self._at, since_ns) < bisect_left(self._at, until_ns)

    def sums(
        self, by: Sequence[str], where: Where, since_ns: int, until_ns: int, active_ns: int | None = None
    ) -> list[Figure]:
        key = (tuple(by), tuple(where))
        index = self._indexes.get(key)
        if index is None:
            index = self._indexes[key] = _Index(self._beats, *key)
        since = -(-since_ns // BEAT_NS) * BEAT_NS
        found = index.sums(since, until_ns, active_ns)
        found.sort(key=lambda figure: (-figure.cost, figure.group))
        return found


class _Index:
    def __init__(self, those: Iterable[Beat], by: tuple[str, ...], where: tuple[tuple[str, str], ...]) -> None:
        self._at: dict[tuple[str, ...], list[int]] = {}
        self._totals: dict[tuple[str, ...], list[tuple[int, ...]]] = {}
        self._active: dict[int, set[tuple[str, ...]]] = {}
        for beat in those:
            if not all(beat.value(name) == value for name, value in where):
                continue
            group = tuple([beat.value(name) for name in by])
            counts = _counts(beat)
            at, totals = self._at.setdefault(group, []), self._totals.setdefault(group, [])
            before = totals[-1] if totals else (0,) * len(COUNTS)
            after = tuple(map(add, before, counts))
            if at and at[-1] == beat.at_ns:
                totals[-1] = after
            else:
                at.append(beat.at_ns)
                totals.append(after)
            self._active.setdefault(beat.at_ns, set()).add(group)

    def sums(self, since_ns: int, until_ns: int, active_ns: int | None) -> list[Figure]:
        groups: Iterable[tuple[str, ...]] = self._at
        if active_ns is not None and (until_ns - active_ns) // BEAT_NS <= _MOST_UNITED:
            first = active_ns // BEAT_NS * BEAT_NS
            groups = set().union(*[self._active.get(at, ()) for at in range(first, until_ns, BEAT_NS)])
        found = []
        for group in groups:
            at = self._at[group]
            begin, end = bisect_left(at, since_ns), bisect_left(at, until_ns)
            if begin == end:
                continue
            totals = self._totals[group]
            counts: Iterable[int] = totals[end - 1]
            if begin:
                counts = map(sub, counts, totals[begin - 1])
            found.append(Figure(group, *counts))
        return found


class PastView:
    """A past that was read in one pass: what it looks like at any moment of it."""

    def __init__(self, ledger: Ledger, budgets: BudgetSet, since_ns: int, until_ns: int) -> None:
        self.budgets = budgets
        self._ledger = ledger
        self._bounds = (since_ns, until_ns)
        self.steps = Steps(beats(ledger, since_ns, until_ns))
        self._dear: dict[int, list[DearCall]] = {}
        self._counted: dict[str, list[Count]] = {}

    def sums(
        self, by: Sequence[str], where: Where, since_ns: int, until_ns: int, *, active_ns: int | None = None
    ) -> list[Figure]:
        return self.steps.sums(by, where, since_ns, until_ns, active_ns)

    def tries(self, by: Sequence[str], where: Where, since_ns: int, until_ns: int) -> list[Figure]:
        return self.steps.sums(by, where, since_ns, until_ns)

    def dear(self, nanos: int, since_ns: int, until_ns: int) -> list[DearCall]:
        if nanos not in self._dear:
            self._dear[nanos] = dear_calls(self._ledger, nanos, *self._bounds)
        return [call for call in self._dear[nanos] if since_ns <= call.at_ns < until_ns]

    def counts(self, name: str, since_ns: int, until_ns: int) -> list[Count]:
        if name not in self._counted:
            self._counted[name] = alert_state(self._ledger).counts(name, *self._bounds)
        return [count for count in self._counted[name] if since_ns <= count.at_ns < until_ns]


def named(by: Sequence[str], group: Sequence[str]) -> Mapping[str, str]:
    """A group as a payer: tag to value."""
    return dict(zip(by, group, strict=True))
