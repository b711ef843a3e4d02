"""The last call of a model, however seldom it is used."""

from __future__ import annotations

from costguard.events import Entry
from costguard.ledger.base import Ledger
from costguard.ledger.figures import Where
from costguard.reports.period import HOUR_NS, Period, at_ns, day_ns

_FEW = 50


def last_call(ledger: Ledger, of: Where, time: Period) -> Entry | None:
    """Of the calls with these values in a time; None where there is none.

    Looked for on the last day with such calls, so that nothing older is read, and among the last of that day.
    """
    days = [one.group["day"] for one in ledger.sums(("day",), of, **time.bounds) if one.calls]
    if not days:
        return None
    begin = day_ns(max(days))
    since, until = at_ns(time.since), at_ns(time.until)
    entries = ledger.entries(
        of,
        since_ns=begin if since is None else max(begin, since),
        until_ns=begin + 24 * HOUR_NS if until is None else min(begin + 24 * HOUR_NS, until),
        limit=_FEW,
    )
    # An adjustment is no call, and has no usage.
    return next((entry for entry in entries if entry.adjusts is None), None)
