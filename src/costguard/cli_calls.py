"""`costguard calls list | show`: single calls, and the receipt of one."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from costguard.cli_store import (
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
    show_json,
    since_or_all,
    terminal,
    took,
)
from costguard.errors import ConfigError
from costguard.money import show_usd
from costguard.pricing.rates import EXACT
from costguard.pricing.receipt import Line
from costguard.pricing.reported import REPORTED
from costguard.pricing.usage import UNIT_BUCKETS
from costguard.reports.calls import CallPage, CallRow
from costguard.reports.plain import plain_usd

app = typer.Typer(help="Single calls, and the receipt of each.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_calls(
    *,
    order: Annotated[
        str,
        typer.Option(
            metavar="newest|dearest|slowest",
            help="Which come first",
            autocompletion=one_of("newest", "dearest", "slowest"),
        ),
    ] = "newest",
    most: Annotated[int, typer.Option("--most", "-n", metavar="N", help="So many, at most 1,000")] = 20,
    after: Annotated[str | None, typer.Option(metavar="ID", help="Go on behind this call, of the same list")] = None,
    since: Since = "all",
    until: Until = None,
    where: Where = None,
    tz: Zone = "UTC",
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Calls, the newest, dearest or slowest first."""
    from costguard.reports.calls import calls

    with one_line(), ledger_at(store) as ledger:
        page = calls(
            ledger, since=since_or_all(since), until=until, where=chosen(where), tz=tz, order=order, most=most,
            after=after,
        )  # fmt: skip
        if as_json:
            show_json(page.to_json())
        else:
            _show_page(page)


@app.command("show")
def show_call(
    call_id: Annotated[str, typer.Argument(metavar="ID", help="As `calls list` and `tail --json` show it")],
    *,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """All there is to know of one call: the receipt, line by line, and later corrections."""
    from costguard.reports.calls import call

    with one_line(), ledger_at(store) as ledger:
        found = call(ledger, call_id)
        if found is None:
            raise ConfigError(f"the ledger {ledger.url} has no call {call_id}; see: costguard calls list")
        if as_json:
            show_json(found.to_json())
        else:
            _show_call(found)


def _show_page(page: CallPage) -> None:
    from costguard.reports.terminal_table import Column, draw

    if not page.calls:
        show("No calls.")
        return
    columns = [
        Column("call", left=True), Column("at (UTC)", 5, left=True), Column("model", name=True), Column("cost"),
        Column("input", 7),
        Column("output", 7), Column("took", 6), Column("status", 3, left=True), Column("tags", 4, name=True),
    ]  # fmt: skip
    rows = []
    for one in page.calls:
        entry = one.entry
        rows.append([
            entry.call_id, f"{entry.at:%Y-%m-%d %H:%M:%S}", f"{entry.provider}/{entry.model}", _amount(one),
            f"{entry.usage.input_tokens:,}", f"{entry.usage.output_tokens:,}", took(entry.duration), entry.status,
            " ".join(f"{name}={value}" for name, value in entry.tags.items()),
        ])  # fmt: skip
    text, hidden = draw(columns, rows, **terminal())
    show(text)
    if hidden:
        show(f"Not shown in a terminal this narrow: {', '.join(hidden)}.")
    if page.after is not None:
        show(f"More: --after {page.after}")


def _price(line: Line) -> str:
    """As price lists have it: by the million tokens, or for each of anything else."""
    if line.bucket in (*UNIT_BUCKETS, REPORTED):
        return f"${line.price:f} each"
    millions = EXACT.scaleb(line.price, 6)
    return f"${plain_usd(millions)} per M"


def _amount(one: CallRow) -> str:
    return "unpriced" if one.cost is None else show_usd(one.cost)


def _show_call(one: CallRow) -> None:
    from costguard.reports.terminal_table import Column, bold, draw, visible

    how, entry = terminal(), one.entry
    show(bold(f"{entry.provider}/{entry.model}  {_amount(one)}", color=how["color"]))
    facts: dict[str, Any] = {
        "call": entry.call_id,
        "at": f"{entry.at:%Y-%m-%d %H:%M:%S.%f} UTC",
        "operation": entry.operation + (", streamed" if entry.streamed else ""),
        "status": entry.status + (", estimated: the provider reported no usage" if entry.estimated else ""),
        "took": f"{entry.duration:.3f} s" + (f", {entry.attempts} attempts" if entry.attempts > 1 else ""),
        "held": show_usd(entry.held) if entry.held_nanos else None,
        "response": entry.response_id,
        "corrects": entry.adjusts,
        "reason": entry.reason,
        **{f"tag {name}": value for name, value in entry.tags.items()},
    }
    known = {visible(name): visible(str(value)) for name, value in facts.items() if value is not None}
    broad = max(map(len, known))
    for name, value in known.items():
        show(f"  {name:<{broad}}  {value}")
    receipt = entry.receipt
    if receipt is None:
        show("  There is no receipt: " + ("it has no price." if entry.nanos is None else "only its cost was recorded."))
    else:
        lines = [
            [line.bucket, f"{line.count:,}", _price(line), f"${line.subtotal:f}"] for line in receipt.lines
        ]  # fmt: skip
        total = "unpriced" if receipt.cost is None else f"${receipt.cost:f}"
        columns = [Column("used", name=True), Column("count"), Column("price"), Column("subtotal")]
        show(draw(columns, lines, footer=["total", "", "", total], **how)[0])
        if receipt.cost is not None and entry.cost is not None and receipt.cost != entry.cost:
            show(f"Recorded: {show_usd(entry.cost)}, rounded to the nano-dollar.")
        show(f"Prices of {visible(receipt.provider)}/{visible(receipt.model)} from {visible(receipt.source)}.")
        if receipt.unpriced:
            show(f"Not in it, for want of a price: {', '.join(receipt.unpriced)}.")
    for each in one.corrections:
        amount = "-" if each.cost is None else f"{'+' if each.cost > 0 else ''}{show_usd(each.cost)}"
        show(f"Corrected by {amount}: {visible(each.reason or '')}")
