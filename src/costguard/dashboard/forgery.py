"""Changes come from our own pages: a token in the form, bound to a cookie and to who asks, and the browser's word."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from costguard.dashboard.access import Person
from costguard.errors import ConfigError

if TYPE_CHECKING:
    from starlette.requests import Request

_BYTES = 32
_PORTS = {"http": "80", "https": "443"}


class Forgery:
    """The tokens of one dashboard.

    Every process can check what another one has made: the key is in the cookie, which no page can read, and which no
    other site is sent with. That the browser says where a form comes from does not rest on it.

    origins: more of those that forms may come from, such as "https://admin.example.com", where a proxy hides them

    Raises ConfigError for one that is no origin: read as none, it would let in the "null" of pages without any.
    """

    def __init__(self, secret: str | None, origins: Iterable[str] = ()) -> None:
        self._secret = (secret or "").encode()
        self._origins = frozenset(_given(one) for one in origins)

    def cookie(self, request: Request) -> str:
        """A plain name over http; over https one that no subdomain can set."""
        return "__Host-costguard-form" if request.scope["scheme"] == "https" else "costguard-form"

    def key(self, request: Request) -> tuple[str, bool]:
        """The key of this browser, and whether it is new and has to be set."""
        found = request.cookies.get(self.cookie(request), "")
        if len(found) == len(secrets.token_urlsafe(_BYTES)):
            return found, False
        return secrets.token_urlsafe(_BYTES), True

    def token(self, key: str, person: Person) -> str:
        said = f"costguard form\0{person.name}\0{person.role}"
        return hmac.new(key.encode() + self._secret, said.encode("utf-8", "replace"), sha256).hexdigest()

    def why_not(self, request: Request, token: str, person: Person) -> str:
        """Why a form is not taken; "" if it is."""
        key, new = self.key(request)
        if new or not hmac.compare_digest(self.token(key, person).encode(), token.encode("utf-8", "replace")):
            return "the form is from another session; load the page again, and send it from there"
        if not self._of_here(request):
            return (
                "the form does not come from this address; where a proxy hides it, "
                "give Dashboard(origins=['https://...']) the address that people see"
            )
        return ""

    def _of_here(self, request: Request) -> bool:
        """https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html"""
        origin = request.headers.get("origin")
        if origin is not None and _origin(origin) in self._origins:
            return True
        site = request.headers.get("sec-fetch-site")
        if site is not None:
            return site == "same-origin"
        if origin is None:
            return False
        # A proxy that ends TLS makes another scheme of it.
        here = _origin(f"{request.scope['scheme']}://{request.headers.get('host', '')}").partition("://")[2]
        return here != "" and _origin(origin).partition("://")[2] == here


def _given(text: object) -> str:
    found = _origin(text) if isinstance(text, str) else ""
    if not found.startswith(("http://", "https://")):
        raise ConfigError(f"origins names {text!r}, which is no origin; write it as https://admin.example.com")
    return found


def _origin(text: str) -> str:
    """Scheme, host and port, without the port where it goes without saying; "" for none."""
    try:
        parts = urlsplit(text.strip().lower())
        port = parts.port
    except ValueError:
        return ""
    if not parts.scheme or not parts.hostname:
        return ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    shown = "" if port is None or str(port) == _PORTS.get(parts.scheme) else f":{port}"
    return f"{parts.scheme}://{host}{shown}"
