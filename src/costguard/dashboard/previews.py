"""What alert rules would have sent, kept for a while: it reads all the calls of its time, and an open page asks for it
again whenever anything is new."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from threading import Lock
from weakref import WeakKeyDictionary

from costguard.alerts.preview import Preview, calls_read, preview
from costguard.alerts.rules import Rule
from costguard.dashboard.threads import Busy
from costguard.dashboard.view import View
from costguard.errors import ConfigError
from costguard.ledger.base import Ledger
from costguard.ledger.rules import version
from costguard.windows import show_span

KEPT_SECONDS = 60.0
WAITED_SECONDS = 10.0
"""For another one: two at once would leave the pages of others half of the threads."""

MOST_CALLS = 250_000
"""That are read for one: a few seconds."""

PATIENCE = 4.0
"""Seconds for looking at what was read; as far as that goes it is shown."""

_MOST = 8

Asked = tuple[tuple[str, ...], timedelta, int]

_kept: WeakKeyDictionary[Ledger, dict[Asked, tuple[float, Preview]]] = WeakKeyDictionary()
_lock = Lock()


def previewed(view: View, rules: Sequence[Rule], span: timedelta) -> Preview:
    """At most `KEPT_SECONDS` old. Raises `Busy` where others are waited for, ConfigError, StoreUnavailable."""
    ledger = view.known.ledger
    asked = (tuple([rule.text for rule in rules]), span, version(ledger))
    if not _lock.acquire(timeout=WAITED_SECONDS):
        raise Busy
    try:
        kept = _kept.setdefault(ledger, {})
        at, found = kept.get(asked, (float("-inf"), None))
        if found is None or time.monotonic() - at >= KEPT_SECONDS:
            until = view.now_ns
            since = until - int(span.total_seconds()) * 10**9
            asked_for = (ledger, rules, view.known.chosen, since, until)
            calls = calls_read(*asked_for)
            if calls > MOST_CALLS:
                raise ConfigError(
                    f"a preview of {show_span(span)} reads {calls:,} calls, with those that the rules compare with, "
                    f"and a page at most {MOST_CALLS:,}; run: costguard alerts preview --since {show_span(span)}"
                )
            found = preview(*asked_for, patience=PATIENCE)
            kept.pop(asked, None)
            kept[asked] = (time.monotonic(), found)
            while len(kept) > _MOST:
                del kept[next(iter(kept))]
        return found
    finally:
        _lock.release()
