"""Streams of lines: one JSON object on each (NDJSON), or the `data:` of a server-sent event."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable

from costguard.providers.meter import End, Meter
from costguard.providers.rows import Route

_DATA = b"data:"
_READABLE = ("", "identity", "gzip", "x-gzip", "deflate")


class LineMeter(Meter):
    """A meter of such a body. Its last event says so by a member that is `true` ("done", "is_finished"), which is
    cheap to look for: only lines that have one, an error or usage are parsed."""

    __slots__ = ()

    def __init__(
        self, route: Route, content_type: str, encoding: str, done: Callable[[End, Meter], None], *, hide: bool
    ) -> None:
        super().__init__(route, content_type, encoding, done, hide=False)
        if encoding in _READABLE:
            self._kind, self.told = "lines", True

    def feeder(self) -> Callable[[bytes], bytes]:
        return self.feed

    def feed(self, chunk: bytes) -> bytes:
        if not self._once or self._kind != "lines":
            return chunk
        plain = chunk
        if self._inflate is not None:
            try:
                plain = self._inflate.decompress(chunk)
            except zlib.error:
                return self._unreadable(chunk)
        if b"\n" not in plain:
            # Joined at line ends only: a huge line in small chunks must not be copied each time.
            self._parts.append(plain)
            return chunk
        *lines, rest = b"".join((*self._parts, plain)).split(b"\n")
        self._parts = [rest] if rest else []
        for line in lines:
            self._line(line)
        return chunk

    def rest(self) -> bytes:
        left, self._parts = b"".join(self._parts), []
        if left and self._once and self._kind == "lines":
            self._line(left)
        return b""

    def _line(self, line: bytes) -> None:
        data = line.removeprefix(_DATA).strip()
        if data.startswith(b"[DONE]"):
            self.end("ok")
        if not self._once or not data.startswith(b"{"):
            return
        first = not self._seen
        self._seen = 1
        matters = b"true" in data or b'"usage' in data or b'"error"' in data
        if not matters:
            self.deltas.add(data)
        if first or matters:
            try:
                parsed = json.loads(data)
            except ValueError:
                return
            if isinstance(parsed, dict):
                self._learn(parsed)
