"""`costguard dashboard`: the dashboard of one machine, opened by a link that works once."""

from __future__ import annotations

import socket
from typing import Annotated

import typer

from costguard.cli_rules import BudgetFile
from costguard.cli_store import Store, ledger_at, one_line, show
from costguard.errors import ConfigError, MissingExtra

PORT = 8321


def dashboard(
    *,
    port: Annotated[int, typer.Option(help="0: any that is free", min=0, max=65535)] = PORT,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser, too")] = False,
    file: BudgetFile = None,
    store: Store = None,
) -> None:
    """Where the money goes, as pages, for this machine alone. Ctrl-C ends it."""
    with one_line():
        with ledger_at(store):
            """It is there, and this version can read it."""
        try:
            import uvicorn
        except ImportError:
            raise MissingExtra("uvicorn", "dashboard", "costguard dashboard") from None
        from costguard.dashboard.app import Dashboard

        app = Dashboard(str(store), loopback=True, budget_file=file)
        listening = _listen(port)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/{app.entrance()}"
        show(f"The dashboard of {app.store}: open\n\n    {url}\n\nThe link works once. Ctrl-C ends it.")
        if open_:
            import webbrowser

            webbrowser.open(url)
        # No access log: the link, and what people look for, are in the addresses. No word of a proxy is believed.
        config = uvicorn.Config(app, log_level="warning", access_log=False, proxy_headers=False, server_header=False)
        try:
            uvicorn.Server(config).run(sockets=[listening])
        except KeyboardInterrupt:
            pass
        finally:
            app.close()


def _listen(port: int) -> socket.socket:
    """The loopback alone, whatever names point to this machine."""
    listening = socket.socket()
    # On Windows it means that another program may take the port, and the link with it.
    option = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
    listening.setsockopt(socket.SOL_SOCKET, option, 1)
    try:
        listening.bind(("127.0.0.1", port))
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"port {port} of this machine cannot be used ({error.strerror}); give another one: --port 0"
        ) from None
    return listening
