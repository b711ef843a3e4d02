"""Cells of a CSV file that no spreadsheet takes for a formula: tags come from users.

A cell that begins with one of `TRIGGERS` is run by Excel, LibreOffice and Google Sheets; with an apostrophe before it
it is text (OWASP, "CSV Injection"). Numbers are written as they are: a negative amount begins with a minus.

Where the comma is in numbers, spreadsheets part cells by semicolons, and take quotes within a line for text: there a
cell may begin in the middle of ours.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from io import StringIO

_RUN = "=+-@|%\uff1d\uff0b\uff0d\uff20"
TRIGGERS = f"{_RUN}\t\r\n"
"""OWASP's list. "|" and "%" began commands of old versions of Excel (DDE); the four after them are the wide forms of
East Asia."""

_WITHIN = re.compile(rf"([;\t\r\n][ \u00a0\"]*)(?=[{re.escape(_RUN)}])")
"""Where another cell may begin, with what runs it."""

Cell = str | int | Decimal | bool | None


def harmless(text: str) -> str:
    """The text as a cell that is only ever text, and that every reader of CSV can read."""
    # What cannot be encoded, and NUL, which ends the file for some readers.
    text = _WITHIN.sub(r"\1'", text.replace("\0", "�").encode("utf-8", "replace").decode())
    return f"'{text}" if text.lstrip(" \u00a0")[:1] in TRIGGERS and text.strip(" \u00a0") else text


def cell(value: Cell) -> str:
    """None is an empty cell; a truth is "true" or "false"; an amount never has an exponent."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return harmless(value)
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def csv_lines(headings: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Iterator[str]:
    """A CSV file (RFC 4180), a record at a time: the headings first. Lines end with CR LF."""
    buffer = StringIO()
    writer = csv.writer(buffer)
    writer.writerow([harmless(heading) for heading in headings])
    for row in rows:
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
        writer.writerow([cell(value) for value in row])
    yield buffer.getvalue()
