"""A provider request about to be made."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import count
from random import getrandbits
from typing import Any

from costguard.tags import NO_TAGS, Frame, Tags, current_frame

_series: tuple[int, str, Iterator[int]] = (0, "", count())


def new_call_id(at_ns: int) -> str:
    """A UUIDv7 of a wall-clock time in nanoseconds: random in each millisecond, counted up within it
    (RFC 9562, sections 5.7 and 6.2, method 2).
    """
    global _series  # noqa: PLW0603 - replaced as a whole: two threads that do so go on in two random series
    milliseconds = at_ns // 1_000_000
    known, prefix, numbers = _series
    if known != milliseconds:
        digits = f"{milliseconds:012x}"
        prefix = f"{digits[:8]}-{digits[8:]}-7{getrandbits(12):03x}-{0x8000 | getrandbits(14):04x}-"
        # The highest bit is left free, so that counting up never overflows.
        numbers = count(getrandbits(47))
        _series = (milliseconds, prefix, numbers)
    return f"{prefix}{next(numbers):012x}"


def _after_fork() -> None:
    """A child must not go on in its parent's series. `random` is reseeded there."""
    global _series  # noqa: PLW0603
    _series = (0, "", count())


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork)


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

    def __init__(  # noqa: PLR0917 - the hot path gives them by position
        self,
        provider: str,
        model: str,
        operation: str = "chat",
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
