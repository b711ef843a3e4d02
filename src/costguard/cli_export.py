"""`costguard export csv | jsonl | parquet | focus`: the entries of the ledger as a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Annotated, cast, get_args

import typer

from costguard.cli_progress import progress
from costguard.cli_store import (
    FAILED,
    Json,
    Since,
    Store,
    Until,
    Where,
    Zone,
    chosen,
    ledger_at,
    one_line,
    one_of,
    show,
    since_or_all,
    visible,
)
from costguard.errors import ConfigError
from costguard.ledger.base import Ledger
from costguard.reports.asked import read_where
from costguard.reports.export import Exported, Format, export
from costguard.reports.period import period
from costguard.reports.terminal_table import counted

Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="PATH", help="The file, whole or not at all; without it, stdout"),
]
Accounts = Annotated[
    list[str] | None,
    typer.Option(
        "--billing-account",
        envvar="COSTGUARD_BILLING_ACCOUNT",
        metavar="[PROVIDER=]ID",
        help="FOCUS only: the account that the provider bills; repeatable",
    ),
]


def export_entries(
    format: Annotated[str, typer.Argument(metavar="csv|jsonl|parquet|focus", autocompletion=one_of(*get_args(Format)))],
    *,
    output: Output = None,
    since: Since = "all",
    until: Until = None,
    where: Where = None,
    tz: Zone = "UTC",
    account: Accounts = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Write the entries to a file or to stdout, newest first. With --json, what was written is told on stderr."""
    with one_line():
        kind = _format(format)
        accounts = _accounts(account or [])
        if kind == "parquet" and output is None and sys.stdout.isatty():
            raise ConfigError("a Parquet file is not for a terminal: add --output costs.parquet")
        with ledger_at(store) as ledger:
            begin, wanted = since_or_all(since), chosen(where)
            total = _how_many(ledger, begin, until, where, tz) if sys.stderr.isatty() else None
            with _stream(output) as out, progress("exporting", total) as tell:
                made = export(
                    ledger, out, kind, since=begin, until=until, where=wanted, tz=tz, accounts=accounts, progress=tell
                )  # fmt: skip
    _tell(made, output, as_json=as_json)


def _how_many(ledger: Ledger, since: str | None, until: str | None, where: list[str] | None, tz: str) -> int:
    """For the bar: corrections are entries too, so that it may end a little late."""
    now = datetime.now(UTC)
    asked = period(since, until, now, tz).closed(now)
    return sum(one.calls for one in ledger.sums((), read_where(chosen(where)), **asked.bounds))


def _format(text: str) -> Format:
    for known in get_args(Format):
        if text == known:
            return known  # type: ignore[no-any-return]
    raise ConfigError(f"format {text!r} is not one of {', '.join(get_args(Format))}")


def _accounts(given: list[str]) -> dict[str | None, str]:
    found: dict[str | None, str] = {}
    for text in given:
        provider, equals, number = text.partition("=")
        name, number = (provider.strip(), number.strip()) if equals else (None, text.strip())
        if not number or name == "":
            raise ConfigError(f"--billing-account {text!r} is not ID or PROVIDER=ID, e.g. openai=org-123")
        found[name] = number
    return found


class _Shown:
    """A terminal: control characters of tags, which come from users, would drive it."""

    def write(self, data: bytes) -> int:
        text = data.decode("utf-8", "replace").replace("\r\n", "\n")
        show("\n".join(map(visible, text.split("\n"))), end="")
        return len(data)

    def flush(self) -> None:
        sys.stdout.flush()


@contextmanager
def _stream(output: Path | None) -> Iterator[IO[bytes]]:
    """Of a file nothing is there before all of it is."""
    if output is None:
        if sys.stdout.isatty():
            yield cast("IO[bytes]", _Shown())
        else:
            yield sys.stdout.buffer
        return
    # /dev/null, a pipe: there is nothing to put in its place.
    try:
        direct = output.exists() and not output.is_file()
    except OSError as error:
        raise ConfigError(f"--output {str(output)!r} cannot be written ({error.strerror})") from None
    beside = output if direct else output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        with _opened(beside, output) as file:
            yield file
        if not direct:
            beside.replace(output)
    except OSError as error:
        typer.echo(f"costguard: {output} cannot be written ({error.strerror or error})", err=True)
        raise typer.Exit(FAILED) from None
    finally:
        if not direct:
            with suppress(OSError):
                beside.unlink()


def _opened(path: Path, meant: Path) -> IO[bytes]:
    try:
        return path.open("wb")
    except OSError as error:
        raise ConfigError(f"--output {str(meant)!r} cannot be written ({error.strerror})") from None


def _tell(made: Exported, output: Path | None, *, as_json: bool) -> None:
    """On stderr: stdout may be the file."""
    if as_json:
        import json

        typer.echo(json.dumps(made.to_json() | {"file": None if output is None else str(output)}), err=True)
        return
    if output is not None:
        entries = f"{made.entries:,} {'entry' if made.entries == 1 else 'entries'}"
        typer.echo(f"{counted(made.rows, 'row')} of {entries} in {output}", err=True)
    if made.unpriced:
        typer.echo(
            f"note: {counted(made.unpriced, 'call')} without a price left out: FOCUS wants a "
            "cost, and they are not free; give them one with Guard(prices=...), then: costguard reprice --since 30d",
            err=True,
        )
    if made.partial:
        typer.echo(
            f"note: {counted(made.partial, 'call')} used something without a price, which is in no row", err=True
        )
