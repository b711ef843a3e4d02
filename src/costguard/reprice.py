"""Past calls priced anew, by the prices of their time as they are known now; the differences recorded as adjustments.

A price that was missing is found, one that was wrong is mended, a list is corrected after the fact: what was recorded
stays as it is, and the difference is an entry of its own (see `Adjustment`), with the time and the tags of the call.
"""

from __future__ import annotations

import getpass
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from uuid import uuid4

from costguard.adjustment import Adjustment
from costguard.budgets import Budget
from costguard.errors import ConfigError
from costguard.events import Entry
from costguard.ledger.base import LEASE, Ledger
from costguard.ledger.deeds import Deed
from costguard.pricing.book import PriceBook, Rates
from costguard.pricing.reported import is_reported
from costguard.reports.spend import When, moment
from costguard.repricing import Repricing, Tally
from costguard.rolling import Rolling
from costguard.tags import Tags

PAGE = 5_000
"""Entries read at once."""

BATCH = 1_000
"""Adjustments written in one transaction."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OPEN = ("lost", "pending")


def reprice(
    ledger: Ledger,
    book: PriceBook,
    *,
    since: When = None,
    until: When = None,
    provider: str | None = None,
    model: str | None = None,
    per: str = "user",
    dry_run: bool = True,
    reported: bool = False,
    overridden: bool = False,
    author: str | None = None,
    reason: str = "",
    budgets: Sequence[Budget] = (),
    progress: Callable[[int], object] | None = None,
    now: datetime | None = None,
) -> Repricing:
    """Price the calls of a time anew; unless `dry_run`, record what differs.

    since, until: of the calls, as in reports; None: the first, the last
    per:        the tag that names the payers, in what is told
    reported:   also calls whose provider said what they cost
    overridden: also calls that were priced by prices of the app's own, of which `book` knows nothing
    author:     who does it, for the table `costguard_audit`; None: the login name
    budgets:    the rules in force: their windows count also what nobody was counted for in them before
    progress:   hears now and then how many entries were looked at

    A call is compared with what is recorded for it: its own cost and the adjustments so far. So a second run has
    nothing to add, and after an interruption it does the rest. Of two at once one records the difference of a call.

    Raises ConfigError for what cannot be read, StoreUnavailable.
    """
    now = now or datetime.now(UTC)
    begin, end = moment(since, now, what="since"), moment(until, now, what="until")
    if begin is not None and end is not None and begin >= end:
        raise ConfigError(f"since {begin.isoformat()} is not before until {end.isoformat()}: nothing lies between")
    Tags({per: "x"})
    if not callable(getattr(ledger, "adjust", None)):
        raise ConfigError(f"the store {ledger.url} cannot adjust: a {type(ledger).__name__} has no verb `adjust`")
    asked = {"since": _iso(begin), "until": _iso(end), "provider": provider, "model": model}
    details = {name: value for name, value in asked.items() if value is not None}
    deed = Deed(uuid4().hex, time.time_ns(), author or _login(dry_run), "reprice", reason, details)
    pricing = _Pricing(book, reported=reported, overridden=overridden)
    tally = Tally()
    waiting: list[Adjustment] = []
    rolling = Rolling(budgets, deed.at_ns)
    written = crossings = looked_at = 0

    def write(most: int) -> None:
        nonlocal written, crossings, waiting
        while len(waiting) >= most:
            lot, waiting = waiting[:BATCH], waiting[BATCH:]
            # Also an empty one: a ledger over a ledger may have to be told that there was something before.
            adjusted = ledger.adjust(lot, deed, budgets)
            written += len(adjusted.new)
            crossings += len(adjusted.crossings)
            rolling.add(one for one in lot if one.call_id in adjusted.new)
            if not waiting:
                break

    for page in _pages(ledger, begin, end, provider, model):
        corrections: dict[str, list[Entry]] = {}
        for entry in page:
            if entry.adjusts is not None:
                corrections.setdefault(entry.adjusts, []).append(entry)
        for entry in page:
            if entry.adjusts is None and (entry.provider, entry.operation) != LEASE:
                tally.calls += 1
                made = pricing.adjustment(entry, corrections.get(entry.call_id, ()), per, tally)
                if made is not None and not dry_run:
                    waiting.append(made)
        write(BATCH)
        looked_at += len(page)
        if progress is not None:
            progress(looked_at)
    if not dry_run:
        write(0)
        crossings += rolling.tell(ledger)
    return Repricing(
        begin, end, per, dry_run, tally.calls, tally.unchanged, tally.differences(per), tally.kept, tally.unpriced,
        tally.partial, written, crossings,
    )  # fmt: skip


def _pages(
    ledger: Ledger, since: datetime | None, until: datetime | None, provider: str | None, model: str | None
) -> Iterator[list[Entry]]:
    """The entries, newest first; those of one microsecond, a call and its corrections, are on one page."""
    since_ns, until_ns = _ns(since), _ns(until)
    size = PAGE
    while True:
        page = ledger.entries({}, provider=provider, model=model, since_ns=since_ns, until_ns=until_ns, limit=size)
        if len(page) < size:
            if page:
                yield page
            return
        last = page[-1].at_ns // 1000
        whole = [entry for entry in page if entry.at_ns // 1000 > last]
        if not whole:
            size *= 2
            continue
        yield whole
        until_ns, size = (last + 1) * 1000, PAGE


class _Pricing:
    """What single calls cost now."""

    def __init__(self, book: PriceBook, *, reported: bool, overridden: bool) -> None:
        self._book = book
        self._reported = reported
        self._overridden = overridden

    def adjustment(
        self, entry: Entry, corrections: tuple[Entry, ...] | list[Entry], per: str, tally: Tally
    ) -> Adjustment | None:
        """What is to be recorded for this entry; None if nothing is."""
        before = entry.nanos
        if corrections:
            before = (before or 0) + sum(one.nanos or 0 for one in corrections)
        usage = entry.usage
        if entry.status in _OPEN:
            tally.keep("open")
            return None
        if entry.rates is None and entry.nanos is not None:
            tally.keep("free")
            return None
        if is_reported(entry.rates) and not self._reported:
            tally.keep("reported")
            return None
        rates = self._rates(entry)
        if rates is None or not rates.priced_any(usage):
            if before is None:
                tally.without_price(entry.provider, entry.model, usage.input_tokens + usage.output_tokens)
            else:
                tally.keep("no price")
            return None
        if not self._overridden and any(_weaker(rates, one.rates) for one in (entry, *corrections)):
            tally.keep("own prices")
            return None
        after = rates.nanos(usage)
        if after == before:
            tally.unchanged += 1
            return None
        tally.differs((entry.provider, entry.model, entry.tags.value(per)), before, after)
        tally.partial += bool(rates.missing(usage))
        # Those of one time have no order: what was recorded last is the one of the last number.
        last = entry.rates if not corrections else None
        reason = f"call {entry.call_id} priced anew: {_version(last, len(corrections))} -> {_version(rates)}"
        return Adjustment.of(
            entry, len(corrections), after - (before or 0), rates, first_price=before is None, reason=reason
        )

    def _rates(self, entry: Entry) -> Rates | None:
        kept = entry.rates
        context = () if kept is None else kept.context
        rates = self._book.rates(entry.provider, entry.model, entry.at_ns, context)
        if rates is None and kept is not None and kept.model not in (entry.model, "any"):
            # The model that answered had no price: it was priced as the one that was asked for.
            rates = self._book.rates(entry.provider, kept.model, entry.at_ns, context)
        return rates


def _weaker(rates: Rates, kept: Rates | None) -> bool:
    """Whether these are of the shipped list, and the call was priced by something that comes before it."""
    listed = ("genai-prices", "assumed", "none", "reported")
    return kept is not None and rates.source.startswith(listed[0]) and not kept.source.startswith(listed)


def _version(rates: Rates | None, corrections: int = 0) -> str:
    """A price list and its version, and a few letters by which these prices can be told from others."""
    if rates is None or rates.source == "none":
        return f"{corrections} adjustments" if corrections else "no price"
    return f"{rates.source} #{blake2b(rates.dump().encode(), digest_size=4).hexdigest()}"


def _login(dry_run: bool) -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        if dry_run:
            return "nobody"
        raise ConfigError("nobody is logged in here; say who does this: author=...") from None


def _ns(value: datetime | None) -> int | None:
    return None if value is None else (value - _EPOCH) // timedelta(microseconds=1) * 1000


def _iso(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()
