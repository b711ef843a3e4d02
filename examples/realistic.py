"""A ledger as a real app would have filled it, for looking at reports and the dashboard without waiting a month.

python -m examples.realistic sqlite:///costs.db --days 30 --calls 20000
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from random import Random

from costguard.budgets import Budget, Limit
from costguard.call import Call
from costguard.events import Entry, Hold
from costguard.ledger.base import Ledger
from costguard.ledger.opening import open_ledger
from costguard.money import from_nanos
from costguard.tags import Tags
from examples.traffic import Drawn, Traffic
from examples.traffic_shapes import ResponseIds

BUDGETS = ("$150/month", "$1/day per user", "$40/month per team", "$25/day where feature=agent")
"""What the calls were counted against; a guard with the same ones shows their standings."""

BATCH = 500


@dataclass(frozen=True, slots=True)
class Realistic:
    """What was written; `since` and `until` are UTC, `users` are the names of those who called, busiest first."""

    calls: int
    cost: Decimal
    since: datetime
    until: datetime
    users: tuple[str, ...]
    budgets: tuple[str, ...]


def realistic(
    store: str | Ledger,
    *,
    days: int = 30,
    calls: int = 20_000,
    seed: int = 7,
    users: int | None = None,
    until: datetime | None = None,
    budgets: Sequence[str] = BUDGETS,
) -> Realistic:
    """Fill a store (its URL, or a ledger that is open) with the calls of so many days up to `until`, which is now if
    it is not given. The same arguments make the same calls. About a second for 10,000 of them.
    """
    until = until or datetime.now(UTC)
    traffic = Traffic(calls, days=days, seed=seed, until=until, users=users)
    if not isinstance(store, str):
        return _fill(store, traffic, seed, budgets)
    ledger = open_ledger(store)
    try:
        return _fill(ledger, traffic, seed, budgets)
    finally:
        ledger.close()


def _fill(ledger: Ledger, traffic: Traffic, seed: int, budgets: Sequence[str]) -> Realistic:
    cost, count = 0, 0
    asked: dict[str, int] = {}
    batch: list[tuple[Entry, Hold | None]] = []
    for entry, hold in settlements(traffic, seed, [Budget.parse(text) for text in budgets]):
        cost += entry.nanos or 0
        count += 1
        asked[entry.tags.user] = asked.get(entry.tags.user, 0) + 1
        batch.append((entry, hold))
        if len(batch) == BATCH:
            ledger.settle_all(batch)
            batch = []
    ledger.settle_all(batch)
    users = tuple(sorted((name for name in asked if name != "unattributed"), key=lambda name: (-asked[name], name)))
    return Realistic(count, from_nanos(cost), traffic.since, traffic.until, users, tuple(budgets))


def settlements(traffic: Traffic, seed: int, budgets: Sequence[Budget] = ()) -> Iterator[tuple[Entry, Hold]]:
    """The calls as entries, each with what it counts on, in the order in which they end."""
    rnd = Random(f"calls/{seed}")
    ids = ResponseIds(rnd)
    known: dict[tuple[Tags, int], tuple[Limit, ...]] = {}
    for day in traffic.each_day():
        for drawn in day:
            at = drawn[0]
            tags = traffic.tag_sets[drawn[1]]
            hour = at // (3_600 * 10**9)
            limits = known.get((tags, hour))
            if limits is None:
                if len(known) > 10_000:
                    known.clear()
                counting = [budget for budget in budgets if budget.counts(tags)]
                limits = known[tags, hour] = tuple([budget.limit_for(tags, at) for budget in counting])
            yield _settlement(drawn, tags, limits, rnd, ids)


def _settlement(
    drawn: Drawn, tags: Tags, limits: tuple[Limit, ...], rnd: Random, ids: ResponseIds
) -> tuple[Entry, Hold]:
    at, _, shape = drawn
    call = Call(shape.provider, shape.model, operation=shape.operation, tags=tags)
    call.started_ns = at
    call.id = seeded_call_id(at, rnd)
    entry = Entry(
        call.id, at, shape.provider, shape.model, shape.operation, shape.nanos, shape.usage, shape.rates, shape.status,
        shape.estimated, shape.streamed, shape.attempts, tags, shape.held, shape.duration_ns,
        ids.next(shape.provider) if shape.identified else None, shape.reason,
    )  # fmt: skip
    # Settled as after a lease: nothing is held on the limits, and the cost is spent on them.
    return entry, Hold(call, limits, 0, at + 600 * 10**9)


def seeded_call_id(at_ns: int, rnd: Random) -> str:
    """A UUIDv7 as `costguard.call.new_call_id` makes, of random numbers that can be had again."""
    digits = f"{at_ns // 1_000_000:012x}7{rnd.getrandbits(12):03x}{0x8000 | rnd.getrandbits(14):04x}"
    digits += f"{rnd.getrandbits(48):012x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.realistic", description=__doc__)
    parser.add_argument("store", help="URL of the ledger, made if it is not there")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    made = realistic(options.store, days=options.days, calls=options.calls, seed=options.seed)
    print(f"{made.calls:,} calls of {len(made.users)} users, ${made.cost:.2f}, {made.since:%F} to {made.until:%F}")


if __name__ == "__main__":
    main()
