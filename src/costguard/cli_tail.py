"""`costguard tail`: the newest calls, a line each, and with -f those that come."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from costguard.cli_store import Json, Store, Where, chosen, ledger_at, one_line, show, terminal, took, visible
from costguard.errors import ConfigError
from costguard.events import Entry
from costguard.ledger.base import Ledger, is_lost_lease
from costguard.money import show_usd
from costguard.reports.asked import read_where
from costguard.reports.calls import CallRow

BEHIND_NS = 15 * 60 * 10**9
"""An entry has the time at which its call began: it is looked for as long after that as a call may take."""

MOST = 5_000
"""Entries looked at in one round."""

_COLORS = {"error": "red", "lost": "red", "cancelled": "yellow", "closed": "yellow", "pending": "cyan"}
_INTERRUPTED = 130
"""128 and the number of SIGINT, as shells have it."""


def tail(
    *,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, max=1 << 31, help="Of the newest calls")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with those that come, until Ctrl-C")] = False,
    every: Annotated[float, typer.Option(metavar="SECONDS", help="Between two looks, with -f")] = 1.0,
    where: Where = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """The newest calls, the last one below. With --json one object a line."""
    with one_line():
        if not 0.1 <= every <= 3600:
            raise ConfigError(f"--every {every:g} is not between 0.1 and 3600 seconds")
        wanted = read_where(chosen(where))
        with ledger_at(store) as ledger:
            watch = _Watch(ledger, wanted)
            for entry in watch.newest(lines):
                _say(entry, as_json=as_json)
            if not follow:
                return
            try:
                while True:
                    began = time.monotonic()
                    for entry in watch.look():
                        _say(entry, as_json=as_json)
                    # A store that is slow to answer is not asked all the time.
                    time.sleep(max(every, 4 * (time.monotonic() - began)))
            except KeyboardInterrupt:
                raise typer.Exit(_INTERRUPTED) from None


class _Watch:
    """What was shown already, by id and status: a background response is shown again when it is answered."""

    def __init__(self, ledger: Ledger, where: Any) -> None:
        self._ledger = ledger
        self._where = where
        self._seen: dict[tuple[str, str], int] = {}
        self._told = False

    def newest(self, most: int) -> list[Entry]:
        """The last calls, oldest first. What there is now is not shown again."""
        self._remember(self._read(time.time_ns()))
        found: list[Entry] = []
        want = most
        while most:
            page = self._ledger.entries(self._where, limit=want)
            found = [entry for entry in page if not is_lost_lease(entry)][:most]
            if len(found) == most or len(page) < want:
                break
            want *= 2
        self._remember(found)
        return found[::-1]

    def look(self) -> list[Entry]:
        """Those that came since, in the order of their times."""
        now = time.time_ns()
        found = [entry for entry in self._read(now) if (entry.call_id, entry.status) not in self._seen]
        self._remember(found)
        self._seen = {key: at for key, at in self._seen.items() if at >= now - 2 * BEHIND_NS}
        return found[::-1]

    def _read(self, now_ns: int) -> list[Entry]:
        page = self._ledger.entries(self._where, since_ns=now_ns - BEHIND_NS, limit=MOST)
        if len(page) == MOST and not self._told:
            self._told = True
            typer.echo(f"note: more than {MOST:,} calls in 15 minutes; one that took long may not be shown", err=True)
        return [entry for entry in page if not is_lost_lease(entry)]

    def _remember(self, entries: list[Entry]) -> None:
        self._seen.update({(entry.call_id, entry.status): entry.at_ns for entry in entries})


def _say(entry: Entry, *, as_json: bool) -> None:
    if as_json:
        show(json.dumps(CallRow(entry).to_json()))
    else:
        show(line(entry, **terminal()))
    sys.stdout.flush()


def line(entry: Entry, *, width: int | None = None, color: bool = False) -> str:
    """One call in one line: when (UTC), cost, model, tokens in and out, seconds, what was odd, tags."""
    today = datetime.now(UTC).date() == entry.at.date()
    usage = entry.usage
    odd: list[str] = [entry.status] if entry.status != "ok" else []
    odd += ["estimated"] if entry.estimated else []
    odd += [f"{entry.attempts} attempts"] if entry.attempts > 1 else []
    parts = [
        f"{entry.at:%H:%M:%S}" if today else f"{entry.at:%Y-%m-%d %H:%M:%S}",
        f"{'unpriced' if entry.cost is None else show_usd(entry.cost):>12}",
        f"{visible(f'{entry.provider}/{entry.model}'):<28}",
        f"{f'{usage.input_tokens:,} > {usage.output_tokens:,}':>16}",
        f"{took(entry.duration):>8}",
        ", ".join(odd),
        visible(" ".join(f"{name}={value}" for name, value in entry.tags.items())),
    ]
    text = "  ".join(part for part in parts if part)
    if width is not None:
        from rich.cells import cell_len, set_cell_size

        text = text if cell_len(text) <= width else f"{set_cell_size(text, max(width - 1, 1))}…"
    shade = _COLORS.get(entry.status) or ("yellow" if entry.cost is None or entry.estimated else None)
    return typer.style(text, fg=shade) if color and shade else text
