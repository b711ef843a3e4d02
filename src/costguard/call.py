"""A provider request about to be made."""

from __future__ import annotations

import time
from random import getrandbits
from typing import Any

from costguard.tags import NO_TAGS, Frame, Tags, current_frame

_prefix: tuple[int, str] = (0, "")


def new_call_id(at_ns: int) -> str:
    """A UUIDv7 (RFC 9562, section 5.7) of a wall-clock time in nanoseconds.

    `random` is reseeded in a forked child, so prefork workers cannot make the same ids.
    """
    global _prefix  # noqa: PLW0603 - the text of the current millisecond, replaced as a whole: half the cost of an id
    milliseconds = at_ns // 1_000_000
    known, prefix = _prefix
    if known != milliseconds:
        digits = f"{milliseconds:012x}"
        prefix = f"{digits[:8]}-{digits[8:]}"
        _prefix = (milliseconds, prefix)
    return "%s-7%03x-%04x-%012x" % (prefix, getrandbits(12), 0x8000 | getrandbits(14), getrandbits(48))  # noqa: UP031 - a third faster


class Call:
    """What is known of a call before it is made. Built on the hot path, so slotted and plain.

    provider, model:     "openai", "gpt-4o": as asked for
    operation:           "chat", "responses", "embeddings", ...: the kind of endpoint
    streamed:            the caller asked for a stream
    input_tokens:        upper estimate of the input, in tokens
    max_output_tokens:   the caller's own ceiling on the output, in tokens, over all choices; None if none
    produces_output:     False for embeddings and the like, whose output costs nothing
    tags, frame:         of the moment the call was made: at settling time the current context
                         belongs to whoever reads or drops the stream
    started_ns:          wall clock, nanoseconds since 1970
    attempts:            HTTP requests made for it, SDK retries included
    sizing, hold:        set by whoever reserves
    """

    __slots__ = (
        "attempts", "frame", "hold", "id", "input_tokens", "max_output_tokens",
        "model", "operation", "produces_output", "provider", "sizing", "started_ns", "streamed", "tags",
    )  # fmt: skip

    def __init__(
        self,
        provider: str,
        model: str,
        operation: str = "chat",
        *,
        input_tokens: int = 0,
        max_output_tokens: int | None = None,
        produces_output: bool = True,
        streamed: bool = False,
        tags: Tags | None = None,
    ) -> None:
        frame: Frame | None = current_frame()
        self.started_ns = time.time_ns()
        self.id = new_call_id(self.started_ns)
        self.provider = provider
        self.model = model
        self.operation = operation
        self.input_tokens = input_tokens
        self.max_output_tokens = max_output_tokens
        self.produces_output = produces_output
        self.streamed = streamed
        self.frame = frame
        self.tags = tags if tags is not None else NO_TAGS if frame is None else frame.current()
        self.attempts = 0
        self.sizing: Any = None
        self.hold: Any = None
