"""Counts of what no entry shows, such as refusals, with hidden values hidden."""

from __future__ import annotations

import json
from dataclasses import replace

from costguard.dashboard.hiding import Hiding
from costguard.ledger.alert_state import AlertState, Count


class HiddenCounts:
    """For reports: what is only for alert rules cannot be done through it."""

    def __init__(self, inner: AlertState, hiding: Hiding) -> None:
        self._inner = inner
        self._hiding = hiding

    def counts(self, name: str, since_ns: int, until_ns: int) -> list[Count]:
        return [self._shown(one) for one in self._inner.counts(name, since_ns, until_ns)]

    def _shown(self, one: Count) -> Count:
        about = dict(one.about)
        for part in ("payer", "tags"):
            values = about.get(part)
            if isinstance(values, dict):
                about[part] = self._hiding.show_all({str(name): str(value) for name, value in values.items()})
        if isinstance(about.get("budget"), str):
            about["budget"] = self._hiding.title(about["budget"])
        return replace(one, subject=json.dumps(about, separators=(",", ":"), sort_keys=True, ensure_ascii=False))
