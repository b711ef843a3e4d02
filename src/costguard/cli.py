"""The command `costguard`: reports, budgets and upkeep, from a shell.

Exit codes: 0 done; 1 the store cannot be read or written, or `check` found differences; 2 the command or a setting
is wrong.
"""

from __future__ import annotations

import shutil
import sys
from typing import Annotated

import typer

from costguard import cli_alerts, cli_budgets, cli_grants, cli_prices, cli_reprice, cli_sample, cli_upkeep
from costguard.cli_store import Json, Store, ledger_at, one_line, pairs, show, show_json
from costguard.version import __version__

app = typer.Typer(
    help="Who spent what on LLM calls, and who may: works on the ledger that costguard's guard writes.",
    no_args_is_help=True,
    add_completion=False,
    # Plain lines: an error is one that a script can show, not a box.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
cli_alerts.app.command("test")(cli_sample.send_sample)
app.add_typer(cli_alerts.app, name="alerts")
app.add_typer(cli_budgets.app, name="budgets")
app.add_typer(cli_grants.app, name="grants")
app.add_typer(cli_prices.app, name="prices")


@app.command()
def report(
    *,
    by: Annotated[str, typer.Option(help="Tags, or provider, model, operation, status, day")] = "user,feature",
    since: Annotated[str, typer.Option(help="7d, 24h, 2026-11-01 (UTC), or all")] = "7d",
    until: Annotated[str | None, typer.Option(help="The same; not included")] = None,
    where: Annotated[list[str] | None, typer.Option(metavar="TAG=VALUE", help="Only these calls; repeatable")] = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Spending by user and feature, or by anything else, with unpriced and estimated calls beside the total."""
    from costguard.reports.spend import spend
    from costguard.reports.table import as_table

    with one_line(), ledger_at(store) as ledger:
        chosen = pairs(where or [], "--where")
        made = spend(ledger, by, since=None if since == "all" else since, until=until, where=chosen)
        if as_json:
            show_json(made.to_json())
        else:
            terminal = sys.stdout.isatty()
            show(as_table(made, width=shutil.get_terminal_size().columns if terminal else None, color=terminal))


app.command()(cli_reprice.reprice)
app.command()(cli_upkeep.check)
app.command()(cli_upkeep.retain)
app.command()(cli_upkeep.migrate)


@app.command()
def version() -> None:
    """The version of costguard."""
    show(f"costguard {__version__}")


def main() -> None:
    """The entry point."""
    app(prog_name="costguard")


if __name__ == "__main__":
    main()
