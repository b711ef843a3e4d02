"""The last call of a model, however seldom it is used: its rates are those that hold, or held last."""

from __future__ import annotations

from collections.abc import Mapping

from costguard.events import Entry
from costguard.ledger.base import Ledger
from costguard.ledger.figures import Where
from costguard.pricing.rates import Rates
from costguard.reports.period import HOUR_NS, Period, at_ns, day_ns

_FEW = 50


def last_call(ledger: Ledger, of: Where, time: Period) -> Entry | None:
    """Of the calls with these values in a time; None where there is none."""
    return next(iter(_last_calls(ledger, of, time)), None)


def last_rates(ledger: Ledger, of: Where, time: Period) -> Rates | None:
    """Those of the last call that was processed in the usual way, else in any; None where none has any."""
    rates = [entry.rates for entry in _last_calls(ledger, of, time) if entry.rates is not None]
    return next((each for each in rates if not each.context), rates[0] if rates else None)


def _last_calls(ledger: Ledger, of: Where, time: Period) -> list[Entry]:
    """Some of the last ones.

    Looked for on the last day with such calls, so that nothing older is read, and among the last of that day.
    """
    days = [one.group["day"] for one in ledger.sums(("day",), of, **time.bounds) if one.calls]
    if not days:
        return []
    begin = day_ns(max(days))
    since, until = at_ns(time.since), at_ns(time.until)
    entries = ledger.entries(
        of,
        since_ns=begin if since is None else max(begin, since),
        until_ns=begin + 24 * HOUR_NS if until is None else min(begin + 24 * HOUR_NS, until),
        limit=_FEW,
    )
    # An adjustment is no call, and has no usage.
    return [entry for entry in entries if entry.adjusts is None]


def model_of(group: Mapping[str, str]) -> Where:
    """What chooses the calls of the model of a group."""
    return {"provider": group["provider"], "model": group["model"]}
