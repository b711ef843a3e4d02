"""Answers that are no page: what went wrong, in the form that was asked for, and files that the browser may have."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from costguard.dashboard import render
from costguard.dashboard.looks import visible
from costguard.dashboard.query import Query
from costguard.dashboard.threads import Busy
from costguard.errors import CostGuardError, MissingExtra, StoreUnavailable

if TYPE_CHECKING:
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import Response

Kind = Literal["html", "json", "text"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A few words instead of a page. `retry_after` in seconds, 0 for none."""

    status: int
    title: str
    text: str
    what_to_do: str = ""
    retry_after: int = 0


class Refused(Exception):
    """Ends a request with `why`."""

    def __init__(self, why: Refusal) -> None:
        super().__init__(why.title)
        self.why = why


NOT_YOU = Refusal(403, "Not for you", "You may not see this dashboard.", "Sign in to the app, or ask who runs it.")
NO_SESSION = Refusal(
    403, "No session", "This browser has no session here.",
    "Open the link that costguard dashboard has printed; it works once. For another one, start it again.",
)  # fmt: skip
USED = Refusal(403, "The link was used", "The link has opened a session before.", NO_SESSION.what_to_do)
VIEWER = Refusal(403, "Nothing was done", "You may look, and change nothing: that needs the role operator.")
NO_ACT = Refusal(400, "Nothing was done", "The form asks for something that is not known here.")
NOT_SO = Refusal(405, "Not so", "This address does not take such a request.")
WHO = Refusal(500, "Who is it?", "The app could not tell who you are.", "Its log says why.")
NOTHING = Refusal(404, "Nothing here", "The dashboard has no such page.")
UNKNOWN = Refusal(500, "That did not work", "The page could not be made.", "The log of the app says why.")
BUSY = Refusal(503, "Busy", "Too many requests are waiting for the store.", "Try again in a moment.", retry_after=2)


def known(error: Exception) -> Refusal | None:
    """What is said of an error that can be expected; None for any other."""
    if isinstance(error, Refused):
        return error.why
    if isinstance(error, Busy):
        return BUSY
    if isinstance(error, StoreUnavailable):
        later = "The app may go on without it; try again in a moment."
        return Refusal(503, "The store is away", str(error), later, retry_after=error.retry_after)
    if isinstance(error, MissingExtra):
        return Refusal(500, "A package is missing", str(error))
    if isinstance(error, CostGuardError):
        return Refusal(400, "That cannot be read", str(error))
    if isinstance(error, LookupError) and type(error) is LookupError:
        return Refusal(404, "Not there", str(error))
    return None


def refuse(request: Request, kind: Kind, why: Refusal) -> Response:
    """As a page, as JSON or as a line of text."""
    from starlette.responses import Response

    headers = {"retry-after": str(why.retry_after)} if why.retry_after else {}
    if kind == "json":
        body = json.dumps({"error": why.title, "text": why.text})
        return Response(body, why.status, headers, "application/json")
    if kind == "text":
        return Response(f"{why.title}: {why.text}\n", why.status, headers, "text/plain")
    page = render.message(why.title, visible(why.text), visible(why.what_to_do), root=root(request))
    return Response(page, why.status, headers, "text/html")


def of_the_app(request: Request, kind: Kind, error: HTTPException) -> Response:
    """What `authorize` raised, such as a redirect to a sign-in, or 401."""
    made = refuse(request, kind, Refusal(error.status_code, "Not for you", str(error.detail)))
    made.headers.update(error.headers or {})
    return made


def unless_known(request: Request, body: bytes, kind: str, etag: str, keeping: str) -> Response:
    """304 where the browser has it (RFC 9110, 13.1.2)."""
    from starlette.responses import Response

    headers = {"etag": etag, "cache-control": keeping}
    given = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if etag in given or "*" in given:
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=kind)


def query_text(request: Request) -> str:
    """What comes after the "?", as it was sent: the address that Starlette makes has the Host header in it, which may
    be anything."""
    return bytes(request.scope["query_string"]).decode("latin-1")


def query(request: Request) -> Query:
    """Raises ConfigError for what no page has."""
    return Query.read(query_text(request))


def path(request: Request) -> str:
    """Below the mount: "/budgets"; "" where the mount itself was asked for, without the slash."""
    whole, mount = str(request.scope["path"]), str(request.scope.get("root_path", "")).rstrip("/")
    return whole[len(mount) :] if mount and (whole == mount or whole.startswith(f"{mount}/")) else whole


def root(request: Request) -> str:
    """From the page to the mount, as a relative address: right behind any proxy and below any prefix."""
    return "../" * (path(request).count("/") - 1) or "./"
