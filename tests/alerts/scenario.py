"""A ledger built from a story, and what alert rules make of it: looked back at, and lived through."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

from costguard.alerts.preview import preview
from costguard.alerts.price_alert import alert_of
from costguard.alerts.rules import read_rules
from costguard.alerts.schedule import GRACE_NS, Schedule
from costguard.budget_set import BudgetSet
from costguard.call import new_call_id
from costguard.events import Entry, Hold
from costguard.ledger.base import Ledger
from costguard.money import to_nanos
from costguard.pricing.usage import Usage
from costguard.tags import Tags

MINUTE = 60 * 10**9
HOUR = 60 * MINUTE
DAY = 24 * HOUR
START = 1_793_491_200 * 10**9
"""2026-11-01T00:00Z, a Sunday; nanoseconds since 1970."""

BEAT = 5 * MINUTE


class Story:
    """Entries, gathered and then written at once."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._entries: list[tuple[Entry, Hold | None]] = []

    def call(
        self,
        at_ns: int,
        cost: str | None = "0.01",
        *,
        model: str = "gpt-4o",
        tokens: int = 1000,
        attempts: int = 1,
        failed: bool = False,
        **tags: str,
    ) -> Entry:
        entry = Entry(
            new_call_id(at_ns), at_ns, "openai", model, "chat",
            nanos=None if cost is None else to_nanos(Decimal(cost)),
            usage=Usage(input_tokens=0 if failed else tokens, output_tokens=0 if failed else 50),
            status="error" if failed else "ok", attempts=attempts, tags=Tags(tags),
            reason="no price" if cost is None else None,
        )  # fmt: skip
        self._entries.append((entry, None))
        return entry

    def calls(self, since_ns: int, until_ns: int, every_ns: int, cost: str = "0.01", **more: object) -> None:
        """One call each so often, from `since_ns` on."""
        for at in range(since_ns, until_ns, every_ns):
            self.call(at, cost, **more)  # type: ignore[arg-type]

    def write(self) -> None:
        self._ledger.settle_all(self._entries)
        self._entries = []


class Clock:
    def __init__(self, now_ns: int) -> None:
        self.now_ns = now_ns

    def __call__(self) -> int:
        return self.now_ns


def looked_back(
    ledger: Ledger, rules: Sequence[str], since_ns: int, until_ns: int, budgets: Sequence[str] = ()
) -> list[tuple[str, str]]:
    """When and what a preview of these rules tells, without what budgets tell by themselves."""
    found = preview(ledger, read_rules(rules), BudgetSet(budgets), since_ns, until_ns)
    return [(f"{alert.at:%d %H:%M}", alert.title) for alert in found.alerts if alert.kind != "budget"]


def worker(ledger: Ledger, rules: Sequence[str], clock: Clock, budgets: Sequence[str] = ()) -> Schedule:
    return Schedule(ledger, read_rules(rules), BudgetSet(budgets), wake=lambda: None, now_ns=clock)


def lived(
    ledger: Ledger, rules: Sequence[str], since_ns: int, until_ns: int, budgets: Sequence[str] = (), workers: int = 2
) -> list[tuple[str, str]]:
    """When and what is put into the outbox by workers that run in that time and share the ledger."""
    clock = Clock(since_ns + GRACE_NS)
    those = [worker(ledger, rules, clock, budgets) for _ in range(workers)]
    for tick in range(since_ns + BEAT, until_ns + 1, BEAT):
        clock.now_ns = tick + GRACE_NS
        # Never the same one first.
        for each in those if tick // BEAT % 2 else those[::-1]:
            each.rounds()
    return told(ledger)


def told(ledger: Ledger) -> list[tuple[str, str]]:
    """What is in the outbox now, and was not seen there before: when it was found, and its title."""
    parcels = ledger.claim(2**62, lease_ns=1, most=10_000)
    for parcel in parcels:
        ledger.delivered(parcel, parcel.created_ns)
    alerts = [alert_of(parcel, ledger) for parcel in parcels]
    return [(f"{alert.at.astimezone(UTC):%d %H:%M}", alert.title) for alert in alerts]


def at(text: str) -> int:
    """ "05 14:00" of November 2026, UTC, in nanoseconds since 1970."""
    moment = datetime.strptime(f"2026-11-{text}", "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
    return int(moment.timestamp()) * 10**9
