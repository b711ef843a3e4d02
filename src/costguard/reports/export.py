"""The entries of a ledger as a file: streamed, so that ten million take no more memory than ten thousand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any, Literal, get_args

from costguard.errors import ConfigError
from costguard.events import Entry
from costguard.ledger.base import Ledger
from costguard.reports import export_focus, export_parquet, export_rows
from costguard.reports.asked import Where, read_where
from costguard.reports.csv_cells import csv_lines
from costguard.reports.period import When, period, show_moment

Format = Literal["csv", "jsonl", "parquet", "focus"]


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    entries:  lines of the ledger that were read
    rows:     rows of the file; of FOCUS several for a call, none for what cost nothing
    unpriced: calls left out of a FOCUS file, as no price is known for them: they are not free
    partial:  calls in a FOCUS file that used something without a price, which is in no row
    """

    format: Format
    since: datetime | None
    until: datetime | None
    entries: int
    rows: int
    unpriced: int = 0
    partial: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "format": self.format,
            "since": show_moment(self.since),
            "until": show_moment(self.until),
            "entries": self.entries,
            "rows": self.rows,
            "unpriced_calls": self.unpriced,
            "partial_calls": self.partial,
        }


def export(
    ledger: Ledger,
    out: IO[bytes],
    format: Format = "csv",
    *,
    since: When = None,
    until: When = None,
    where: Where | None = None,
    accounts: Mapping[str | None, str] | None = None,
    progress: Callable[[int], object] | None = None,
    tz: str = "UTC",
    now: datetime | None = None,
) -> Exported:
    """Write the entries of a time to a binary stream, newest first.

    format:   "csv", "jsonl", "parquet" (needs the extra `export`), "focus" (FOCUS 1.2 as CSV)
    since, until, where: as in `costguard.reports.spend`; without `until`, up to now
    accounts: for "focus": the BillingAccountId, by provider, with None for all others
    progress: hears after each page how many entries were written

    Raises ConfigError for what cannot be read, MissingExtra without pyarrow, StoreUnavailable.
    """
    if format not in get_args(Format):
        raise ConfigError(f"format {format!r} is not one of {', '.join(get_args(Format))}")
    now = now or datetime.now(UTC)
    asked, chosen = period(since, until, now, tz).closed(now), read_where(where)
    if format == "focus" and not any((accounts or {}).values()):
        raise ConfigError("FOCUS wants the account that the provider bills: add --billing-account ID")
    if format == "parquet":
        export_parquet.require()
    focus = export_focus.Focus(dict(accounts or {}))
    entries = rows = 0

    def read() -> Iterator[list[Entry]]:
        nonlocal entries
        for page in export_rows.pages(ledger, chosen, **asked.bounds):
            yield page
            entries += len(page)
            if progress is not None:
                progress(entries)

    if format == "parquet":

        def made() -> Iterator[list[Mapping[str, Any]]]:
            nonlocal rows
            for page in read():
                rows += len(page)
                yield [export_rows.row(entry) for entry in page]

        export_parquet.write(made(), out)
        return Exported(format, asked.since, asked.until, entries, rows)
    for text in _lines(format, focus, read()):
        out.write(text.encode("utf-8", "replace"))
        rows += 1
    with suppress(AttributeError):
        out.flush()
    return Exported(
        format, asked.since, asked.until, entries, rows - (format != "jsonl"), max(0, focus.unpriced), focus.partial
    )


def _lines(format: Format, focus: export_focus.Focus, pages: Iterable[list[Entry]]) -> Iterator[str]:
    each = (entry for page in pages for entry in page)
    if format == "jsonl":
        return (json.dumps(export_rows.plain(export_rows.row(entry))) + "\n" for entry in each)
    if format == "focus":
        found = (export_focus.cells(made) for entry in each for made in focus.rows(entry))
        return csv_lines(export_focus.COLUMNS, found)
    return csv_lines(export_rows.COLUMNS, (export_rows.cells(export_rows.row(entry)) for entry in each))
