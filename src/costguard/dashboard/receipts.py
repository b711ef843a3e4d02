"""One call with its corrections, as it may be shown."""

from __future__ import annotations

from dataclasses import replace

from costguard.dashboard.hidden_ledger import HiddenLedger
from costguard.dashboard.view import View
from costguard.reports.calls import CallRow, call


def receipt_of(view: View, call_id: str) -> CallRow | None:
    """None where the ledger has none of this id. Raises ConfigError for what is no id, StoreUnavailable.

    Corrections are found by the tags of the call: by those that are recorded, whatever is shown of them.
    """
    found = call(view.known.ledger, call_id)
    if found is None or not view.hiding.on:
        return found
    shown = HiddenLedger(view.known.ledger, view.hiding).shown
    return replace(found, entry=shown(found.entry), corrections=tuple([shown(one) for one in found.corrections]))
