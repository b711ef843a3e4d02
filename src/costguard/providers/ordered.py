"""Answers that are ordered now and fetched later: background responses, and runs of threads.

The request that orders one reports no usage; every poll after the end reports it again. All of them are settled
under the id of the response (`Outcome.by_response`), so that it is one entry whoever polls, with the tags of the
call that ordered it where that was made in this process. A poll is never refused: the money is spent already.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from costguard.call import Call
from costguard.errors import CostGuardError
from costguard.events import Outcome, Status
from costguard.providers.policy import Policy
from costguard.providers.usage import Answer, fields, text_in

log = logging.getLogger("costguard.providers")

MOST = 10_000
"""Orders, and settled ids, that are remembered; the oldest is forgotten first."""

_lock = threading.Lock()
_open: OrderedDict[str, Call] = OrderedDict()
_settled: OrderedDict[str, None] = OrderedDict()


def _after_fork() -> None:
    """In a child process, where the thread that may have held the lock is not."""
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork)


def remember(call: Call, response_id: str) -> None:
    """A call was settled as pending; its usage comes under this id of the response."""
    with _lock:
        _open[response_id] = call
        if len(_open) > MOST:
            _open.popitem(last=False)


def known(key: str) -> bool:
    """Whether an answer was settled in this process."""
    return key in _settled


def polled(  # noqa: PLR0917
    policy: Policy,
    call: Call,
    answer: Answer,
    content: Any,
    settle: Callable[[Call, Outcome], None],
    batch: str | None = None,
) -> None:
    """A response was fetched: settle it if it has ended, was not paid for when it was made, and was not seen yet.

    batch: the id of the batch that it is the sum, or a part, of
    """
    key = answer.response_id
    state = fields(content).get("status")
    if key is None or not (answer.usage is not None or state in ("cancelled", "failed", "expired")):
        return
    if batch is not None and answer.usage is None:
        return
    with _lock:
        orderer = _open.pop(key, None)
        if orderer is None and batch is not None:
            orderer = _open.get(batch)
        if (
            key in _settled if batch is not None
            else orderer is None and (key in _settled or answer.usage is None or not _was_ordered(content))
        ):  # fmt: skip
            return
        _settled[key] = None
        if len(_settled) > MOST:
            _settled.popitem(last=False)
    call.model = answer.model or call.model
    if orderer is not None:
        call.tags, call.frame, call.started_ns = orderer.tags, orderer.frame, orderer.started_ns
        call.model = call.model if batch is not None else orderer.model
    status: Status = "cancelled" if state == "cancelled" else "error" if answer.failed else "ok"
    outcome = Outcome(
        status, answer.usage, estimated=answer.usage is None, billable=not (answer.failed and answer.usage is None),
        model=answer.model, response_id=key, by_response=True, context=answer.context, extra=answer.extra,
        reported=answer.reported, summed=answer.summed, ended_ns=time.time_ns(),
    )  # fmt: skip
    admit(policy, call)
    if orderer is not None and batch is None and answer.usage is not None:
        # What it cost is learned for the next that is ordered.
        call.sizing = orderer.sizing
    settle(call, outcome)


def admit(policy: Policy, call: Call) -> None:
    """For a call that cannot be refused any more: whoever answers is told of it, to say which budgets are meant.

    Without input and output it holds nothing, and what it cost says nothing of the next one's hold.
    """
    try:
        policy.reserve(call)
    except CostGuardError as error:
        log.debug("a call to %s is recorded although %s", call.model, error)
    except Exception:
        log.exception("costguard could not reserve for a call to %s", call.model)
    call.sizing = None


def looked(  # noqa: PLR0917
    policy: Policy,
    call: Call,
    answer: Answer,
    content: Any,
    settle: Callable[[Call, Outcome], None],
    named: str | None,
) -> None:
    """A batch was ordered, looked at, or its file read.

    named: the id in the path; None: it is ordered
    """
    known_as = named or text_in(fields(content), "id")
    if known_as is None:
        return
    if named is None:
        remember(call, known_as)
        return
    answer.response_id = answer.response_id or known_as
    call.attempts = 1
    polled(policy, call, answer, content, settle, known_as)


def line(  # noqa: PLR0917
    policy: Policy, call: Call, answer: Answer, content: Any, settle: Callable[[Call, Outcome], None], batch: str
) -> None:
    """One line of the results of a batch, which `call` reads: a call of its own."""
    part = Call(call.provider, answer.model or call.model, call.operation, 0, None, False, tags=call.tags)
    part.frame, part.attempts = call.frame, 1
    polled(policy, part, answer, content, settle, batch)


def _was_ordered(content: Any) -> bool:
    """Other responses were paid for by the request that made them; a run of a thread never is."""
    source = fields(content)
    return source.get("background") is True or source.get("object") == "thread.run"
