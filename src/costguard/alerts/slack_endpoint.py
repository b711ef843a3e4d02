"""The address that Slack tells of pressed buttons, for any ASGI or WSGI app.

actions = SlackActions(guard, signing_secret=os.environ["SLACK_SIGNING_SECRET"], allowed=["U024BE7LH"])
app.mount("/slack/actions", actions.asgi)                                   # FastAPI, Starlette
app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/slack/actions": actions.wsgi})   # Flask
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from costguard.alerts.slack_actions import MOST_BYTES, Actions, Answer
from costguard.web.asgi import Message, Receive, Send, lifespan

_TOO_LARGE = Answer(413, "too large")
_NOT_POST = Answer(405, "only POST")


class SlackActions(Actions):
    """`Actions` as an app: `asgi` or `wsgi`, whichever the app around it speaks."""

    async def asgi(self, scope: Message, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        answer = _NOT_POST
        if scope["method"] == "POST":
            body = await _body(receive)
            if body is None:
                answer = _TOO_LARGE
            else:
                headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
                answer = await asyncio.to_thread(self.take, headers, body)
        content = answer.body.encode()
        fields = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": answer.status, "headers": fields})
        await send({"type": "http.response.body", "body": content})

    def wsgi(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """A WSGI application."""
        answer = _NOT_POST
        if environ["REQUEST_METHOD"] == "POST":
            length = environ.get("CONTENT_LENGTH") or "0"
            if not length.isdigit() or int(length) > MOST_BYTES:
                answer = _TOO_LARGE
            else:
                body = environ["wsgi.input"].read(int(length))
                headers = {
                    name[5:].replace("_", "-").lower(): value
                    for name, value in environ.items()
                    if name.startswith("HTTP_")
                }
                answer = self.take(headers, body)
        content = answer.body.encode()
        fields = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(content)))]
        start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", fields)
        return [content]


async def _body(receive: Receive) -> bytes | None:
    """None if there is more of it than Slack ever sends."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b""
        part = message.get("body", b"")
        size += len(part)
        if size > MOST_BYTES:
            return None
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)
