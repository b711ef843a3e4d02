"""The dashboard of one machine: open to whoever has the link that was printed there, over the loopback alone."""

from __future__ import annotations

import getpass
import hmac
import secrets
from hashlib import sha256
from ipaddress import ip_address
from threading import Lock
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from costguard.dashboard.access import Person

if TYPE_CHECKING:
    from starlette.requests import Request

_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_PROXIED = ("via", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")
_SESSIONS = 20
_BYTES = 32

TOKEN = "token"  # noqa: S105 - the name of the parameter


class Loopback:
    """A token that opens one session, and the sessions it has opened; in memory, none of it is ever logged."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._token: bytes | None = None
        self._sessions: list[bytes] = []
        # Cookies do not know of ports: two dashboards of one machine must not end each other's sessions.
        self.cookie = f"costguard-{secrets.token_hex(4)}"

    def new_token(self) -> str:
        """A token that works once, in place of the one before."""
        token = secrets.token_urlsafe(_BYTES)
        with self._lock:
            self._token = _digest(token)
        return token

    def why_not(self, request: Request) -> str:
        """Why a request cannot be one of this machine's own browser; "" if it can."""
        client = request.client
        if client is None or not _is_loopback(client.host) or any(name in request.headers for name in _PROXIED):
            return "this dashboard answers its own machine alone; for others mount it with authorize="
        # A name that an attacker lets point to 127.0.0.1 is in the Host header: DNS rebinding.
        if _host(request.headers.get("host", "")) not in _HOSTS:
            return "this dashboard is known as localhost and 127.0.0.1 alone; open it under one of these"
        return ""

    def enter(self, token: str) -> str | None:
        """The session that a token opens; None for one that is wrong, or was used."""
        with self._lock:
            if self._token is None or not hmac.compare_digest(self._token, _digest(token)):
                return None
            self._token = None
            session = secrets.token_urlsafe(_BYTES)
            self._sessions = [*self._sessions[1 - _SESSIONS :], _digest(session)]
            return session

    def person(self, request: Request) -> Person | None:
        """Who has a session: they may do all that they could do to the store's file, too."""
        found = _digest(request.cookies.get(self.cookie, ""))
        with self._lock:
            known = [hmac.compare_digest(one, found) for one in self._sessions]
        return Person("operator", _login()) if any(known) else None


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "replace")).digest()


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _host(header: str) -> str:
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""
