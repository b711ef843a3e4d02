"""The headers of every answer: nothing of it is kept, framed, sniffed, or runs anything that is not the dashboard's."""

from __future__ import annotations

from costguard.web.asgi import Message, Send

CSP = "; ".join([
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'", "font-src 'self'",
    "connect-src 'self'", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'",
])  # fmt: skip
"""https://www.w3.org/TR/CSP3/"""

HEADERS = (
    (b"content-security-policy", CSP.encode()),
    (b"x-frame-options", b"DENY"),
    (b"x-content-type-options", b"nosniff"),
    # Not "no-referrer": with it a browser sends our own forms with "Origin: null" (Fetch, 3.2.2).
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    (b"x-robots-tag", b"noindex, nofollow"),
)
_NOT_KEPT = (b"cache-control", b"no-store")


def sealed(send: Send) -> Send:
    """`send` that adds them; files say themselves how long they are kept."""

    async def add(message: Message) -> None:
        if message["type"] == "http.response.start":
            own = [(name, value) for name, value in HEADERS]
            found = [(name, value) for name, value in message.get("headers", ()) if name.lower() not in dict(own)]
            if not any(name.lower() == b"cache-control" for name, _ in found):
                found.append(_NOT_KEPT)
            message = {**message, "headers": [*found, *own]}
        await send(message)

    return add
