"""A price list fetched over https: with a limit of size and time, and only if it has changed."""

from __future__ import annotations

import http.client
import time
from ipaddress import ip_address
from typing import IO, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from costguard.errors import ConfigError
from costguard.version import __version__

TIMEOUT = 10.0
"""Seconds that the other side may be silent."""
DEADLINE = 60.0
"""Seconds for all of it."""
_PIECE = 2**16


class Download(NamedTuple):
    content: bytes
    etag: str
    modified: str


def check_url(url: str) -> None:
    """Raise ConfigError for an address that is not https; http is for this machine alone."""
    try:
        parts = urlsplit(url)
        fine = parts.scheme == "https" or (parts.scheme == "http" and _is_here(parts.hostname or ""))
        fine = fine and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine:
        raise ConfigError(
            f"prices {shown(url)!r} are not at an https address; prices that anyone on the way can change are no prices"
        )


def shown(url: str) -> str:
    """Host and path of an address: user, password and query may be secret."""
    try:
        parts = urlsplit(url)
        return f"{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}{parts.path}"
    except ValueError:
        return "an address that cannot be read"


def download(url: str, *, etag: str = "", modified: str = "", most_bytes: int) -> Download | None:
    """Fetch; None if it is as it was (HTTP 304).

    etag, modified: the headers ETag and Last-Modified of the last answer, "" if there was none

    Raises OSError, naming host and path, for whatever fails.
    """
    headers = {"User-Agent": f"costguard/{__version__}", "Accept": "application/json, application/toml, */*;q=0.5"}
    if etag:
        headers["If-None-Match"] = etag
    if modified:
        headers["If-Modified-Since"] = modified
    end = time.monotonic() + DEADLINE
    opener = build_opener(_SafeRedirects)
    try:
        with opener.open(Request(url, headers=headers), timeout=TIMEOUT) as answer:  # noqa: S310 - see check_url
            content = _read(answer, most_bytes, end)
            declared = answer.headers.get("Content-Length", "")
            if declared.isdigit() and len(content) < int(declared):
                raise OSError(f"only {len(content)} of {declared} bytes came")
            return Download(content, answer.headers.get("ETag", ""), answer.headers.get("Last-Modified", ""))
    except HTTPError as error:
        with error:
            if error.code == http.client.NOT_MODIFIED and (etag or modified):
                return None
            raise OSError(f"{shown(url)} answered {error.code} {error.reason}") from None
    except URLError as error:
        raise OSError(f"{shown(url)} cannot be reached: {error.reason}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise OSError(f"{shown(url)} cannot be fetched: {error or type(error).__name__}") from None


def _read(answer: IO[bytes], most_bytes: int, end: float) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while piece := answer.read1(_PIECE):  # type: ignore[attr-defined]
        size += len(piece)
        if size > most_bytes:
            raise OSError(f"it is longer than {most_bytes} bytes")
        if time.monotonic() > end:
            raise OSError(f"it took longer than {DEADLINE:.0f} s")
        pieces.append(piece)
    return b"".join(pieces)


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class _SafeRedirects(HTTPRedirectHandler):
    def redirect_request(  # noqa: PLR0917 - the base class says so
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage, newurl: str
    ) -> Request | None:
        try:
            check_url(newurl)
        except ConfigError as error:
            raise OSError(str(error)) from None
        return super().redirect_request(req, fp, code, msg, headers, newurl)
