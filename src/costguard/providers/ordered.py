"""Answers that are ordered now and fetched later: background responses, and runs of threads.

The request that orders one reports no usage; every poll after the end reports it again. All of them are settled
under the id of the response (`Outcome.by_response`), so that it is one entry whoever polls, with the tags of the
call that ordered it where that was made in this process. A poll is never refused: the money is spent already.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from costguard.call import Call
from costguard.errors import CostGuardError
from costguard.events import Outcome, Status
from costguard.providers.policy import Policy
from costguard.providers.usage import Answer, fields

log = logging.getLogger("costguard.providers")

MOST = 10_000
"""Orders, and settled ids, that are remembered; the oldest is forgotten first."""

_lock = threading.Lock()
_open: OrderedDict[str, Call] = OrderedDict()
_settled: OrderedDict[str, None] = OrderedDict()


def remember(call: Call, response_id: str) -> None:
    """A call was settled as pending; its usage comes under this id of the response."""
    with _lock:
        _open[response_id] = call
        if len(_open) > MOST:
            _open.popitem(last=False)


def polled(policy: Policy, call: Call, answer: Answer, content: Any, settle: Callable[[Call, Outcome], None]) -> None:
    """A response was fetched: settle it if it has ended, was not paid for when it was made, and was not seen yet."""
    key = answer.response_id
    state = fields(content).get("status")
    if key is None or not (answer.usage is not None or state in ("cancelled", "failed", "expired")):
        return
    with _lock:
        orderer = _open.pop(key, None)
        if orderer is None and (key in _settled or answer.usage is None or not _was_ordered(content)):
            return
        _settled[key] = None
        if len(_settled) > MOST:
            _settled.popitem(last=False)
    call.model = answer.model or call.model
    if orderer is not None:
        call.tags, call.frame, call.model = orderer.tags, orderer.frame, orderer.model
        call.started_ns = orderer.started_ns
    status: Status = "cancelled" if state == "cancelled" else "error" if answer.failed else "ok"
    outcome = Outcome(
        status, answer.usage, estimated=answer.usage is None, billable=not (answer.failed and answer.usage is None),
        model=answer.model, response_id=key, by_response=True, context=answer.context, extra=answer.extra,
        ended_ns=time.time_ns(),
    )  # fmt: skip
    try:
        # Without input and output it holds nothing; it tells whoever answers which budgets are meant.
        policy.reserve(call)
    except CostGuardError as error:
        log.debug("response %s is recorded although %s", key, error)
    except Exception:
        log.exception("costguard could not reserve for response %s", key)
    settle(call, outcome)


def _was_ordered(content: Any) -> bool:
    """Other responses were paid for by the request that made them; a run of a thread never is."""
    source = fields(content)
    return source.get("background") is True or source.get("object") == "thread.run"
