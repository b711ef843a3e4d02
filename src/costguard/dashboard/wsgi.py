"""The dashboard in a WSGI app: a2wsgi, made in the process that serves."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Any
from urllib.parse import quote

_ASCII = bytes(range(0x21, 0x7F))


class Wsgi:
    """A WSGI application. Servers fork after they have loaded an app, and threads stay behind: a2wsgi's loop is made
    with the first request of each process."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._made: dict[int, Any] = {}
        self._lock = Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        made = self._made.get(os.getpid())
        if made is None:
            made = self._make()
        # a2wsgi leaves the client out where the server does not tell its port, as Werkzeug's test client.
        environ.setdefault("REMOTE_PORT", "1")
        # It reads them as UTF-8 and as ASCII, and dies of anything else that a client sends.
        for name in ("PATH_INFO", "SCRIPT_NAME"):
            text = environ.get(name, "").encode("latin-1", "replace").decode("utf-8", "replace")
            environ[name] = text.encode().decode("latin-1")
        environ["QUERY_STRING"] = quote(
            environ.get("QUERY_STRING", ""), safe=_ASCII, encoding="latin-1", errors="replace"
        )
        # To its end: of an answer that is given up half-way, as of HEAD, a2wsgi would keep the task for good.
        return list(made(environ, start_response))

    def _make(self) -> Any:
        from a2wsgi import ASGIMiddleware

        with self._lock:
            return self._made.setdefault(os.getpid(), ASGIMiddleware(self._app))
