"""A provider request about to be made."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import count
from random import getrandbits
from typing import Any, Protocol

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


class Particulars:
    """What only some calls have: of limits on tokens or on a request, of what a budget asked for.

    local:  what it holds of the limits of its request
    tokens: how its hold was sized in tokens
    stop:   output tokens at which its stream is ended; None: where the provider ends it
    note:   what was done to it, for the reason of its entry
    noted:  the journal has an entry that counts if it is never settled, as the store could not be asked
    """

    __slots__ = ("local", "note", "noted", "stop", "tokens")

    def __init__(self) -> None:
        self.local: Any = None
        self.tokens: Any = None
        self.stop: int | None = None
        self.note = ""
        self.noted = False

    def add(self, note: str) -> None:
        self.note = f"{self.note}; {note}" if self.note else note


class Knobs(Protocol):
    """How a request can still be altered, until it is sent. The caller's own dicts are never written to.

    takes_ceiling: this API has a ceiling on the output
    choices:       answers that are asked for at once; the ceiling is that of each
    least:         tokens of a ceiling that are not for the answer, such as a thinking budget
    """

    @property
    def takes_ceiling(self) -> bool: ...
    @property
    def choices(self) -> int: ...
    @property
    def least(self) -> int: ...

    def lower(self, tokens: int) -> bool:
        """Let each choice have at most so many output tokens; False if that cannot be asked for."""
        ...

    def change_model(self, model: str) -> bool:
        """Ask another model; False where the model is no part of the request's body."""
        ...


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
    context:             what it asks for that makes it dearer, e.g. (("service_tier", "priority"),), sorted
    attempts:            HTTP requests made for it, SDK retries included
    sizing, hold, particulars: set by whoever reserves
    knobs:               how the request can be altered; only until it is sent
    watched:             hooks were told that it began, and not yet that it ended
    span:                what a telemetry hook keeps of its beginning
    """

    __slots__ = (
        "attempts", "context", "frame", "hold", "id", "input_tokens", "knobs", "max_output_tokens",
        "model", "operation", "particulars", "produces_output", "provider", "sizing", "span", "started_ns", "streamed",
        "tags", "watched",
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
        self.context: tuple[tuple[str, str], ...] = ()
        self.attempts = 0
        self.sizing: Any = None
        self.hold: Any = None
        self.particulars: Particulars | None = None
        self.knobs: Knobs | None = None
        self.watched = False
        self.span: Any = None
