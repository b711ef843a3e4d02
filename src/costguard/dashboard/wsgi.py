"""The dashboard in a WSGI app: a2wsgi, made in the process that serves."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from io import BytesIO
from threading import Lock
from typing import Any
from urllib.parse import quote

from costguard.dashboard.form import MOST_BYTES

_ASCII = bytes(range(0x21, 0x7F))
_THEIRS = "costguard.environ"


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
        body = _body(environ)
        # It would ask for ever for what is not there: `authorize` may read a body of its own, as Flask's request.form.
        environ |= {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        own = {**environ, "wsgi.input": BytesIO(body), _THEIRS: environ}
        # To its end: of an answer that is given up half-way, a2wsgi would keep the task for good.
        answer = list(made(own, start_response))
        # Not every server leaves the body out, and what reads on would take it for the next answer.
        return [] if environ["REQUEST_METHOD"] == "HEAD" else answer

    def _make(self) -> Any:
        from a2wsgi import ASGIMiddleware

        with self._lock:
            return self._made.setdefault(os.getpid(), ASGIMiddleware(self._asgi))

    async def _asgi(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app({**scope, "wsgi_environ": scope["wsgi_environ"][_THEIRS]}, receive, send)


def _body(environ: dict[str, Any]) -> bytes:
    """As much as a form may have, and one byte more to see that it has more; nothing of one that was not sent to its
    end."""
    said = str(environ.get("CONTENT_LENGTH") or "0")
    length = min(int(said), MOST_BYTES + 1) if said.isascii() and said.isdigit() and len(said) < 20 else 0
    parts, left = [], length
    while left > 0:
        try:
            part = environ["wsgi.input"].read(left)
        except OSError:
            # So servers tell that the client is gone.
            return b""
        if not part:
            return b""
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
