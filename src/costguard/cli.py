"""The command `costguard`: reports, single calls, budgets, export and upkeep, from a shell.

Exit codes: 0 done; 1 the store cannot be read or written, or something was found (`check`, `doctor`, `prices`), or not
taken (`alerts test`); 2 the command or a setting is wrong; 130 ended by Ctrl-C. See docs/cli.md.
"""

from __future__ import annotations

import typer

from costguard import (
    cli_alerts,
    cli_budgets,
    cli_calls,
    cli_dashboard,
    cli_doctor,
    cli_explain,
    cli_export,
    cli_grants,
    cli_prices,
    cli_report,
    cli_reprice,
    cli_sample,
    cli_standings,
    cli_tail,
    cli_upkeep,
)
from costguard.cli_store import Json, show, show_json
from costguard.version import __version__

app = typer.Typer(
    help="Who spent what on LLM calls, and who may: works on the ledger that costguard's guard writes.",
    no_args_is_help=True,
    add_completion=True,
    # Plain lines: an error is one that a script can show, not a box.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
cli_alerts.app.command("test")(cli_sample.send_sample)
app.add_typer(cli_alerts.app, name="alerts")
cli_budgets.app.command("standings")(cli_standings.standings)
app.add_typer(cli_budgets.app, name="budgets")
app.add_typer(cli_calls.app, name="calls")
app.add_typer(cli_grants.app, name="grants")
app.add_typer(cli_prices.app, name="prices")


app.command()(cli_report.report)
app.command()(cli_report.top)
app.command()(cli_tail.tail)
app.command()(cli_explain.explain)
app.command()(cli_explain.forecast)
app.command("export")(cli_export.export_entries)
app.command()(cli_reprice.reprice)
app.command()(cli_upkeep.check)
app.command()(cli_upkeep.retain)
app.command()(cli_upkeep.migrate)
app.command()(cli_doctor.doctor)
app.command()(cli_dashboard.dashboard)


@app.command()
def version(*, as_json: Json = False) -> None:
    """The version of costguard."""
    if as_json:
        show_json({"costguard": __version__})
    else:
        show(f"costguard {__version__}")


def main() -> None:
    """The entry point."""
    app(prog_name="costguard")


if __name__ == "__main__":
    main()
