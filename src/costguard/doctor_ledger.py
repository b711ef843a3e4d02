"""What the ledger tells of a set-up: budgets that count nobody, alerts that reach nobody, calls without a price."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from costguard.alerts.delivery import QUIET
from costguard.budgets import Budget
from costguard.cli_rules import CODE, Found, KnownRules
from costguard.doctor_finding import Finding
from costguard.ledger.base import Ledger
from costguard.ledger.parcels import Posted, parcel_counts, parcels
from costguard.ledger.rules import seen
from costguard.money import show_usd
from costguard.reports.spend import spend
from costguard.tags import UNATTRIBUTED

LATELY_NS = 7 * 24 * 3600 * 10**9
_LATE_NS = 15 * 60 * 10**9
_MINUTE_NS = 60 * 10**9


def look_at_budgets(ledger: Ledger, file: Path | None, of_app: Iterable[Budget] = ()) -> Iterator[Finding]:
    """`of_app`: those of the app's guards. Without it, budgets of code are known once calls were counted by them.

    Raises ConfigError for a file that cannot be read, and for rules that contradict each other.
    """
    now = time.time_ns()
    known = KnownRules(ledger, file, now)
    for found in known.all:
        if found.budget is None and found.stored is not None:
            yield Finding(
                "budgets", "problem", f"budget {found.stored.id} of the database cannot be read: {found.rule}",
                f"upgrade costguard, or: costguard budgets remove {found.stored.id}",
            )  # fmt: skip
    known.chosen()
    read = {budget.identity: Found(str(budget), CODE, budget) for budget in of_app}
    read |= {found.budget.identity: found for found in known.all[::-1] if found.budget is not None}
    if not read:
        yield Finding(
            "budgets", "warning", "no budget is known: every call is made, whatever it costs",
            'give Guard(budgets=["$5/day per user"]), a budget_file, or: costguard budgets set "$5/day per user"',
        )  # fmt: skip
        return
    counted = {budget.identity for budget in seen(ledger, now_ns=now)}
    carried: dict[str, set[str]] = {}
    silent = False
    for identity, found in read.items():
        budget = found.budget
        if budget is None:
            continue
        unknown = _uncarried(ledger, budget, carried, now)
        if unknown:
            silent = True
            yield unknown
        elif found.stored is not None and identity not in counted and not budget.is_local:
            calls = _calls_since(ledger, budget, found.stored.created_ns + _MINUTE_NS, now)
            if calls:
                silent = True
                yield Finding(
                    "budgets", "warning",
                    f"no worker counts by the budget {found.rule} of the database, though {calls:,} calls that it is "
                    "about were made since it was set",
                    "see that the app's guard has this store and runs this version",
                )  # fmt: skip
    if not silent:
        yield Finding("budgets", "ok", f"{len(read):,} in force, and calls carry the tags that they go by")
    passed = sum(known.stronger(found) is not None for found in known.all)
    if passed:
        yield Finding(
            "budgets",
            "note",
            f"{passed:,} overruled by one of the file or of the database",
            "see: costguard budgets list",
        )


def _uncarried(ledger: Ledger, budget: Budget, carried: dict[str, set[str]], now: int) -> Finding | None:
    """A tag that it goes by, and that no call of late has."""
    values = dict(budget.where) | dict(budget.for_)
    for name in dict.fromkeys((*budget.per, *values)):
        if name not in carried:
            sums = ledger.sums((name,), {}, since_ns=now - LATELY_NS)
            carried[name] = {one.group[name] for one in sums if one.calls}
        there = carried[name]
        if there and there <= {UNATTRIBUTED}:
            return Finding(
                "budgets", "warning",
                f"the budget {budget} goes by the tag {name}, which no call of the last 7 days has"
                + (": all of them are one payer, unattributed" if name in budget.per else ""),
                f"give it where the middleware is installed, or with bind_tags({name}=...)",
            )  # fmt: skip
        wanted = values.get(name)
        if there and wanted is not None and wanted not in there:
            return Finding(
                "budgets",
                "note",
                f"the budget {budget} is about {name}={wanted}, and no call of the last 7 days has it",
            )
    return None


def _calls_since(ledger: Ledger, budget: Budget, since_ns: int, now: int) -> int:
    begin = max(since_ns, now - 3600 * 10**9)
    where = dict(budget.where) | dict(budget.for_)
    return sum(one.calls for one in ledger.sums((), where, since_ns=begin)) if begin < now else 0


def look_at_alerts(ledger: Ledger) -> Iterator[Finding]:
    counts = parcel_counts(ledger)
    now = time.time_ns()
    waiting = parcels(ledger, ("waiting",), most=1000)
    asleep = sum(_held_back(one, now) for one in waiting)
    late = [one for one in waiting if one.parcel.created_ns < now - _LATE_NS and not _held_back(one, now)]
    if late:
        oldest = min(one.parcel.created_ns for one in late)
        said = next((one.error for one in late if one.error), "")
        yield Finding(
            "alerts", "warning",
            f"{counts['waiting'] - asleep:,} not told yet, the oldest since {_minute(oldest)}"
            + (f" ({said})" if said else ""),
            "see that a guard with alerts=[...] of this store is running, and: costguard alerts test",
        )  # fmt: skip
    if counts["given up"]:
        (last,) = parcels(ledger, ("given up",), most=1) or (None,)
        said = f"; the last: {last.error}" if last is not None and last.error else ""
        yield Finding(
            "alerts", "warning", f"{counts['given up']:,} given up, as no channel took them{said}",
            "mend the channel, and try it with: costguard alerts test",
        )  # fmt: skip
    if not late and not counts["given up"]:
        yield Finding("alerts", "ok", f"{counts['told']:,} told, {counts['waiting']:,} waiting")


def _held_back(one: Posted, now: int) -> bool:
    """By the quiet hours of all channels that are to tell it: nothing has failed."""
    said = one.error.split("; ")
    return one.due_ns > now and bool(one.error) and all(each.endswith(f": {QUIET}") for each in said)


def look_at_calls(ledger: Ledger) -> Iterator[Finding]:
    newest = ledger.entries({}, limit=1)
    if not newest:
        yield Finding(
            "calls", "note", "there is none yet", "call guard.instrument() where the app starts, and make a call"
        )
        return
    yield Finding("calls", "ok", f"the newest is of {_minute(newest[0].at_ns)}")
    made = spend(ledger, ("user",), since="7d")
    total = made.total
    if total.unpriced_calls:
        models = ", ".join(one.name for one in made.unpriced[:3])
        more = f" and {len(made.unpriced) - 3} more" if len(made.unpriced) > 3 else ""
        yield Finding(
            "calls", "warning",
            f"{total.unpriced_calls:,} of {total.calls:,} calls of the last 7 days have no price: {models}{more}",
            "costguard prices check, then give Guard(prices=...), then: costguard reprice --since 7d",
        )  # fmt: skip
    if total.calls and total.estimated_calls * 10 > total.calls:
        yield Finding(
            "calls", "note", f"{total.estimated_calls:,} of {total.calls:,} calls of the last 7 days are estimated",
            "see docs/providers.md: usage of streams may need usage_hosts=, and lost processes leave estimates",
        )  # fmt: skip
    lacking = [row for row in made.rows if row.group["user"] == UNATTRIBUTED]
    if lacking and lacking[0].calls * 10 > total.calls:
        yield Finding(
            "calls", "note",
            f"{lacking[0].calls:,} of {total.calls:,} calls of the last 7 days have no user "
            f"({show_usd(lacking[0].cost)})",
            "give user= where the middleware is installed; work outside of requests: tagged(user=...)",
        )  # fmt: skip


def _minute(ns: int) -> str:
    return f"{datetime.fromtimestamp(ns // 10**9, UTC):%Y-%m-%d %H:%M} UTC"
