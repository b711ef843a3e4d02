"""`costguard prices show | check | sources`: what models cost, where that is from, and how old it is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from costguard.cli_store import FAILED, Json, Store, ledger_at, one_line, show, show_json, terminal
from costguard.errors import ConfigError

if TYPE_CHECKING:
    from costguard.pricing.book import PriceBook

app = typer.Typer(
    help="What models cost, where that is from, and how old it is.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Prices = Annotated[
    list[str] | None,
    typer.Option(
        "--prices", envvar="COSTGUARD_PRICES", metavar="FILE|URL", help="Price lists before the shipped one; repeatable"
    ),
]
Provider = Annotated[str | None, typer.Option("--provider", help="Such as openai, azure or bedrock")]

_YEARS = (1970, 2200)


@app.command(name="show")
def show_prices(
    model: Annotated[str, typer.Argument(help="Such as gpt-4o, or openai/gpt-4o")],
    *,
    provider: Provider = None,
    at: Annotated[
        str | None, typer.Option(help="A moment: 2026-11-01, or 2026-11-01T16:00 (UTC); now by default")
    ] = None,
    prices: Prices = None,
    as_json: Json = False,
) -> None:
    """The prices of a model, by bucket, size of the call and processing. Exit code 1: there are none."""
    from costguard.prices_shown import Shown, as_table

    with one_line():
        book = _book(prices)
        found = Shown.find(book, provider, model, _moment_ns(at))
    if as_json:
        show_json(found.to_json())
    else:
        show(as_table(found, **terminal()))
    if not found.priced:
        raise typer.Exit(FAILED)


@app.command()
def check(*, store: Store = None, prices: Prices = None, as_json: Json = False) -> None:
    """Every model of the ledger: what it costs now, and what is unpriced, partial, changed or stale.

    Exit code 1: a model has no price, or only a part of one, or a price list is more than 45 days old.
    """
    from costguard.reports.priced import as_table, priced

    with one_line(), ledger_at(store) as ledger:
        made = priced(ledger, _book(prices))
    if as_json:
        show_json(made.to_json())
    else:
        show(as_table(made, **terminal()))
    if not made.ok:
        raise typer.Exit(FAILED)


@app.command()
def sources(*, prices: Prices = None, as_json: Json = False) -> None:
    """Where prices come from, the first first, and how old they are. Exit code 1: more than 45 days, or not there."""
    from costguard.prices_shown import sources_of, sources_table

    with one_line():
        book = _book(prices, strict=False)
        rows = sources_of(book)
    if as_json:
        show_json(rows)
    else:
        show(sources_table(rows, **terminal()))
    if any(row["state"] in ("too old", "not fetched") for row in rows):
        raise typer.Exit(FAILED)


def _book(prices: Sequence[str] | None, *, strict: bool = True) -> PriceBook:
    from costguard.pricing.book import PriceBook

    book = PriceBook(list(prices or []))
    failed = book.look() if any("://" in each for each in prices or []) else []
    if failed and strict:
        raise ConfigError("; ".join(failed))
    return book


def _moment_ns(text: str | None) -> int:
    if text is None:
        return time.time_ns()
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ConfigError(f"--at {text!r} is not a moment; write it as 2026-11-01 or 2026-11-01T16:00") from None
    if not _YEARS[0] <= moment.year <= _YEARS[1]:
        raise ConfigError(f"--at {text!r} is not between {_YEARS[0]} and {_YEARS[1]}")
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return int(moment.timestamp()) * 10**9
