"""The command `costguard`: reports and upkeep, from a shell.

Exit codes: 0 done; 1 the store cannot be read or written; 2 the command or a setting is wrong.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from costguard.errors import ConfigError, CostGuardError, StoreUnavailable
from costguard.ledger.base import Ledger
from costguard.version import __version__

app = typer.Typer(
    help="Who spent what on LLM calls: reads the ledger that costguard's guard writes.",
    no_args_is_help=True,
    add_completion=False,
    # Plain lines: an error is one that a script can show, not a box.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Store = Annotated[
    str | None,
    typer.Option("--store", envvar="COSTGUARD_STORE", metavar="URL", help="The ledger, e.g. sqlite:///costs.db"),
]


@app.command()
def report(
    *,
    by: Annotated[str, typer.Option(help="Tags, or provider, model, operation, status, day")] = "user,feature",
    since: Annotated[str, typer.Option(help="7d, 24h, 2026-11-01 (UTC), or all")] = "7d",
    until: Annotated[str | None, typer.Option(help="The same; not included")] = None,
    where: Annotated[list[str] | None, typer.Option(metavar="TAG=VALUE", help="Only these calls; repeatable")] = None,
    store: Store = None,
    as_json: Annotated[bool, typer.Option("--json", help="Amounts as strings, in USD")] = False,
) -> None:
    """Spending by user and feature, or by anything else, with unpriced and estimated calls beside the total."""
    from costguard.reports.spend import spend
    from costguard.reports.table import as_table

    with _one_line(), _ledger(store, must_exist=True) as ledger:
        made = spend(ledger, by, since=None if since == "all" else since, until=until, where=_pairs(where or []))
        if as_json:
            _print(json.dumps(made.to_json(), indent=2))
        else:
            terminal = sys.stdout.isatty()
            _print(as_table(made, width=shutil.get_terminal_size().columns if terminal else None, color=terminal))


@app.command()
def alerts(store: Store = None) -> None:
    """How many alerts are still to be told."""
    with _one_line(), _ledger(store, must_exist=True) as ledger:
        left = ledger.undelivered()
        _print(
            "every alert is told or given up" if not left else f"{left} alert{'' if left == 1 else 's'} not told yet"
        )


@app.command()
def migrate(store: Store = None) -> None:
    """Create the ledger's tables, or bring them up to date."""
    with _one_line(), _ledger(store, must_exist=False) as ledger:
        _print(f"{ledger.url} is up to date")


@app.command()
def version() -> None:
    """The version of costguard."""
    _print(f"costguard {__version__}")


def main() -> None:
    """The entry point."""
    app(prog_name="costguard")


@contextmanager
def _one_line() -> Iterator[None]:
    """An error of ours is one line on stderr, without a traceback."""
    try:
        yield
    except CostGuardError as error:
        typer.echo(f"costguard: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(1 if isinstance(error, StoreUnavailable) else 2) from None


@contextmanager
def _ledger(url: str | None, *, must_exist: bool) -> Iterator[Ledger]:
    if not url:
        raise ConfigError("no store given: add --store sqlite:///costs.db, or set COSTGUARD_STORE")
    if url.startswith("memory:"):
        raise ConfigError(f"store {url!r} lives inside one process and cannot be read from here; use a database")
    if must_exist:
        _check_file(url)
    from costguard.ledger.opening import open_ledger

    ledger = open_ledger(url)
    try:
        yield ledger
    finally:
        ledger.close()


def _check_file(url: str) -> None:
    """Opening a SQLite file that is not there would create an empty ledger, and report that nobody spent anything."""
    scheme, found, path = url.partition(":///")
    path = path.partition("?")[0]
    if not found or not scheme.startswith("sqlite") or path in ("", ":memory:"):
        return
    file = Path(path)
    if not file.is_file():
        raise ConfigError(
            f"store {url!r}: there is no file {str(file)!r}; check the path, or make it: costguard migrate"
        )


def _pairs(given: list[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for part in given:
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name and equals and value):
            raise ConfigError(f"--where {part!r} is not TAG=VALUE, e.g. --where feature=chat")
        if name in pairs:
            raise ConfigError(f"--where names the tag {name!r} twice")
        pairs[name] = value
    return pairs


def _print(text: str) -> None:
    # A terminal without UTF-8 shows "?" for what it lacks, instead of a traceback.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    typer.echo(text)


if __name__ == "__main__":
    main()
