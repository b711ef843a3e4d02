"""How far off forecasts are, on generated ledgers of 90 days: python -m benchmarks.forecasts

Each day from the 15th on is taken for today, and what came after it is compared with what `costguard.reports.forecast`
would have said, and with what people do by hand. The ledgers grow, rest at weekends, change models, and have one day of
ten times the usual spending: days before it are left out where it lies ahead, as nobody can foresee it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from fractions import Fraction

from examples.realistic import settlements
from examples.traffic import Traffic

from costguard.reports.estimate import estimate, tried

UNTIL = datetime(2026, 11, 22, tzinfo=UTC)
LEAST = 14
HORIZONS = (1, 7, 14)
_DAY_NS = 86_400 * 10**9

Ledger = tuple[int, list[int]]
"""The weekday of its first day, and what each day cost."""

Method = Callable[[list[int], int, int], float]


def days_of(seed: int, calls: int) -> Ledger:
    costs: dict[int, int] = {}
    for entry, _ in settlements(Traffic(calls, days=90, seed=seed, until=UNTIL), seed):
        day = entry.at_ns // _DAY_NS
        costs[day] = costs.get(day, 0) + (entry.nanos or 0)
    first = min(costs)
    # 1970 began on a Thursday.
    return (first + 3) % 7, [costs.get(day, 0) for day in range(first, max(costs) + 1)]


def ours(days: list[int], weekday: int, ahead: int) -> float:
    return float(sum(estimate(days, weekday).days(weekday, ahead)))


METHODS: dict[str, Method] = {
    "costguard": ours,
    "mean of 7 days": lambda days, _, ahead: sum(days[-7:]) / 7 * ahead,
    "mean of 28 days": lambda days, _, ahead: sum(days[-28:]) / min(28, len(days)) * ahead,
    "as yesterday": lambda days, _, ahead: float(days[-1] * ahead),
}


def errors(ledgers: list[Ledger], method: Method, ahead: int, *, after_spike: bool = False) -> list[float]:
    """Relative, each as its size, the smallest first."""
    found = []
    for first, days in ledgers:
        spike = max(range(len(days)), key=lambda place: days[place])
        for today in range(LEAST, len(days) - ahead + 1):
            if today <= spike < today + ahead or (after_spike and not spike < today <= spike + 7):
                continue
            came = sum(days[today : today + ahead])
            if came:
                found.append(abs(method(days[:today], (first + today) % 7, ahead) - came) / came)
    return sorted(found)


def covered(ledgers: list[Ledger], ahead: int) -> Fraction:
    """How often what came was within the range, from three weeks of past on."""
    within = times = 0
    for first, days in ledgers:
        spike = max(range(len(days)), key=lambda place: days[place])
        for today in range(LEAST + 7, len(days) - ahead + 1):
            if today <= spike < today + ahead:
                continue
            weekday = (first + today) % 7
            said = sum(estimate(days[:today], weekday).days(weekday, ahead))
            low, high = tried(days[:today], weekday, [Fraction(1)] * ahead)
            times += 1
            within += low * said <= sum(days[today : today + ahead]) <= high * said
    return Fraction(within, times)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forecasts", description=__doc__)
    parser.add_argument("--ledgers", type=int, default=6)
    parser.add_argument("--calls", type=int, default=20_000)
    options = parser.parse_args()
    ledgers = [days_of(seed, options.calls) for seed in range(1, options.ledgers + 1)]
    print("| days ahead | method | half of the errors below | nine of ten below | in the week after the spike |")
    print("|---:|---|---:|---:|---:|")
    for ahead in HORIZONS:
        for name, method in METHODS.items():
            found, after = errors(ledgers, method, ahead), errors(ledgers, method, ahead, after_spike=True)
            half, nine = found[len(found) // 2], found[len(found) * 9 // 10]
            print(f"| {ahead} | {name} | {half:.0%} | {nine:.0%} | {after[len(after) // 2]:.0%} |")
    ranges = ", ".join(f"{float(covered(ledgers, ahead)):.0%} of {ahead} days ahead" for ahead in HORIZONS)
    print(f"\nWithin the range were {ranges}.")


if __name__ == "__main__":
    main()
