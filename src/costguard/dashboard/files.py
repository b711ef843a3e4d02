"""Style sheets, scripts and pictures: a fixed set, read once, known to the browser by what is in them."""

from __future__ import annotations

from functools import cache
from hashlib import sha256

from costguard.dashboard.render import STATIC

TYPES = {
    ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
    ".png": "image/png", ".txt": "text/plain; charset=utf-8",
}  # fmt: skip
"""What is of another kind is not served."""


@cache
def file(name: str) -> tuple[bytes, str, str] | None:
    """Content, type and ETag of one of the dashboard's own files; None for any other name."""
    return _read(name) if name in _names() else None


def mark(etag: str) -> str:
    """In the address of a file, so that its content never changes under that address."""
    return etag[1:13]


@cache
def _names() -> frozenset[str]:
    return frozenset(
        path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.is_file() and path.suffix in TYPES
    )


def _read(name: str) -> tuple[bytes, str, str]:
    content = (STATIC / name).read_bytes()
    return content, TYPES[(STATIC / name).suffix], f'"{sha256(content).hexdigest()[:32]}"'
