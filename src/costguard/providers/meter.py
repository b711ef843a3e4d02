"""Reads usage off the bytes of a body as they pass: what the tap in `body.py` calls, in plain synchronous steps."""

from __future__ import annotations

import json
import logging
import re
import zlib
from collections.abc import Callable
from typing import Any, Literal

from costguard.providers.estimate import Deltas
from costguard.providers.framing import BOUNDARY, USAGE, cut, data_of, frames, holds, kind_of, member, usage_only
from costguard.providers.rows import Route
from costguard.providers.usage import Answer, is_final

log = logging.getLogger("costguard.providers")

End = Literal["ok", "closed", "cancelled", "error"]

_ERROR = re.compile(rb'"error"\s*:\s*[{"]')
_FACTS = (
    "model", "id", "service_tier", "status", "output", "tool_usage", "tools", "x_groq", "seconds",
    "background", "object",
)  # fmt: skip
_LAST = frozenset((
    "message_stop", "response.completed", "response.incomplete", "response.failed", "response.cancelled",
    "transcript.text.done", "speech.audio.done", "image_generation.completed", "image_edit.completed", "error",
))  # fmt: skip
_NULL = b'"usage":null'
_LAST_EVENT = 96
"""Bytes at the end of a block in which `[DONE]` or `message_stop` is looked for."""
MAX_BODY = 8 * 1024 * 1024
"""Bytes of an unstreamed body that are kept to be read; of a longer one its end, where usage stands."""


class Meter:
    """One body. `feed` takes bytes as they came and gives the bytes to pass on; `done` is called once, with
    how it ended and this meter, at the latest when the body is let go of.

    hide:     take the event that only carries usage out of the bytes: it was asked for by us
    found:    facts of the response so far, as a parsed object
    whole:    the reported usage is the final one
    told:     an estimate of the output is possible: the text was readable
    parsed:   `found` is the whole body, which was no stream
    failed:   the provider sent an error inside the stream
    """

    __slots__ = (
        "_done", "_frames", "_hide", "_inflate", "_kind", "_once", "_pack", "_parts", "_route", "_seen",
        "content", "deltas", "failed", "found", "parsed", "told", "whole",
    )  # fmt: skip

    def __init__(
        self, route: Route, content_type: str, encoding: str, done: Callable[[End, Meter], None], *, hide: bool
    ) -> None:
        self._route = route
        self._done = done
        self._once = [None]
        self._hide = hide
        self._parts: list[bytes] = []
        self._kind = kind_of(content_type)
        self._inflate: Any = None
        self._pack: Any = None
        self.told = self._kind != "other" or route.guess is not None
        if encoding and encoding != "identity":
            if encoding in ("gzip", "x-gzip", "deflate"):
                self._inflate = zlib.decompressobj(31 if "gzip" in encoding else 15)
                # The caller's client will inflate what it gets, so that altered bytes are packed again.
                self._pack = zlib.compressobj(1, zlib.DEFLATED, 31 if "gzip" in encoding else 15) if hide else None
            else:
                self._kind, self._hide, self.told = "other", False, False
        self.deltas = Deltas(route.pattern)
        self.content: list[bytes] = []
        self.found: dict[str, Any] = {}
        self._seen = 0
        self.whole = False
        self.failed = False
        self.parsed = False

    def feeder(self) -> Callable[[bytes], bytes]:
        """`feed`, or what does the same for the usual body in less time."""
        return self._feed_event if self._kind == "events" and self._inflate is None else self.feed

    def _feed_event(self, chunk: bytes) -> bytes:
        """A chunk of whole events of which none matters is most of them."""
        if self._seen and self._once and not self._parts and chunk.endswith(b"\n\n"):
            last = chunk[-_LAST_EVENT:]
            at = chunk.find(b'"usage"')
            if (
                (at < 0 or (chunk.startswith(_NULL, at) and chunk.find(b'"usage"', at + 12) < 0))
                and b'"error"' not in chunk
                and b"[DONE]" not in last
                and b"message_stop" not in last
            ):
                self.deltas.add(chunk)
                return chunk
        return self.feed(chunk)

    def feed(self, chunk: bytes) -> bytes:
        """Read one chunk; what comes back is to be passed on, possibly nothing while an event is incomplete."""
        if not self._once and not self._hide:
            return chunk
        if self._kind == "other":
            self._seen += len(chunk)
            return chunk
        plain = chunk
        if self._inflate is not None:
            try:
                plain = self._inflate.decompress(chunk)
            except zlib.error:
                return self._unreadable(chunk)
        if self._kind == "events":
            out = self._events(plain)
            if not self._hide:
                return chunk
            return out if self._pack is None else self._packed(out)
        if self._kind == "frames":
            self._read_frames(plain)
        elif self._once:
            self._keep(plain)
        return chunk

    def rest(self) -> bytes:
        """The end of the body: what was held back, to be passed on before `end`."""
        left = b"".join(self._parts)
        self._parts = []
        if left and self._kind == "events" and self._once:
            self._inspect(left)
        if not self._hide:
            return b""
        left = b"" if left and usage_only(left) else left
        if self._pack is None:
            return left
        pack, self._pack = self._pack, None
        return bytes(pack.compress(left) + pack.flush())

    def end(self, how: End) -> None:
        """Settle, the first time it is called; from then on the meter only passes bytes."""
        try:
            self._once.pop()
        except IndexError:
            return
        if self._kind == "json":
            self._read_body()
        self._done(how, self)

    @property
    def ended(self) -> bool:
        return not self._once

    def answer(self) -> Answer:
        """What the response said so far."""
        return self._route.read(self.found)

    # --- events ---

    def _events(self, plain: bytes) -> bytes:
        """Take in bytes of an event stream; the complete events come back, less the hidden one."""
        parts = self._parts
        if b"\n" not in plain and b"\r" not in plain:
            # Parts are joined at line ends only: a huge event in small chunks must not be copied each time.
            parts.append(plain)
            return b""
        block = plain
        if parts:
            parts.append(plain)
            block = b"".join(parts)
            parts.clear()
        at = cut(block)
        if at < len(block):
            parts.append(block[at:])
            block = block[:at]
        if not block:
            return b""
        # What ends a stream is its last event: only the end of the block is searched for it.
        last = block[-_LAST_EVENT:]
        if (
            not self._seen
            or b"[DONE]" in last
            or b"message_stop" in last
            or holds(block, b'"usage"', USAGE)
            or holds(block, b'"error"', _ERROR)
        ):
            return self._look(block)
        if self._once:
            self.deltas.add(block)
        return block

    def _look(self, block: bytes) -> bytes:
        """Go through the events of a block of which one matters."""
        kept = []
        start = 0
        for boundary in BOUNDARY.finditer(block):
            event = block[start : boundary.end()]
            start = boundary.end()
            if self._once:
                self._inspect(event)
            if not (self._hide and usage_only(event)):
                kept.append(event)
        return b"".join(kept) + block[start:]

    def _inspect(self, event: bytes) -> None:
        data = data_of(event)
        if not data:
            return
        if data.startswith(b"[DONE]"):
            self.end("ok")
            return
        first = not self._seen
        self._seen = 1
        if not (first or b'"usage"' in data or b'"error"' in data or b'"message_stop"' in data):
            self.deltas.add(event)
            return
        try:
            parsed = json.loads(data)
        except ValueError:
            return
        if isinstance(parsed, dict):
            self.deltas.add(event)
            self._learn(parsed)

    def _learn(self, event: dict[str, Any]) -> None:
        try:
            self.take(event if self._route.event is None else self._route.event(event))
        except Exception:
            # The bytes go on to the caller whatever they say to us.
            log.exception("costguard could not read an event of a %s stream", self._route.operation)

    def take(self, event: dict[str, Any]) -> None:
        """Learn from one parsed event."""
        kind = event.get("type")
        if str(event.get("object", "")).startswith("thread") and event["object"] != "thread.run":
            return  # steps and messages are parts of the run, which reports the sum
        if event.get("error") or kind == "error":
            self.failed = True
            self.end("error")
            return
        inner = event.get("response") or event.get("message")
        source = inner if isinstance(inner, dict) else event
        found = self.found
        for name in _FACTS:
            value = source.get(name)
            if value is not None:
                found[name] = value
        usage = source.get("usage")
        if usage is None and source is not event:
            usage = event.get("usage")
        if usage is not None:
            known = found.get("usage")
            if self._route.merge and isinstance(known, dict) and isinstance(usage, dict):
                usage = {**known, **{name: value for name, value in usage.items() if value is not None}}
            found["usage"] = usage
            self.whole = is_final(event, merged=self._route.merge)
            if self.whole and self._route.merge:
                # Some readers (LiteLLM) stop here, at `stop_reason`, and never come for the event after it.
                self.end("ok")
        if isinstance(kind, str) and kind in _LAST:
            self.whole = self.whole or "usage" in found
            self.end("error" if kind == "response.failed" else "ok")

    # --- other bodies ---

    def _unreadable(self, chunk: bytes) -> bytes:
        self._kind, self._hide, self.told = "other", False, False
        return chunk

    def _packed(self, out: bytes) -> bytes:
        return bytes(self._pack.compress(out) + self._pack.flush(zlib.Z_SYNC_FLUSH)) if out else b""

    def _keep(self, plain: bytes) -> None:
        self.content.append(plain)
        self._seen += len(plain)
        if self._seen > MAX_BODY:
            tail = b"".join(self.content)[-65_536:]
            self.content, self._seen = [b"", tail], len(tail)

    def _read_body(self) -> None:
        body = b"".join(self.content)
        self.content = []
        try:
            parsed = json.loads(body)
        except ValueError:
            # Cut short or longer than was kept: its usage may be there all the same.
            parsed = member(body, b'"usage"')
        if isinstance(parsed, dict):
            self.found, self.parsed = parsed, True
            self.whole = parsed.get("usage") is not None

    def _read_frames(self, plain: bytes) -> None:
        try:
            events, rest = frames(b"".join((*self._parts, plain)))
            self._parts = [rest] if rest else []
            for event in events:
                parsed = json.loads(event)
                if self._once and isinstance(parsed, dict):
                    self.deltas.add(event)
                    self._learn(parsed)
        except ValueError:
            self._unreadable(b"")
