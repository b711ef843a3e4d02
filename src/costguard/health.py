"""What of a guard's work is still to be done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from costguard.ledger.base import Ledger
from costguard.recorder import Recorder


@dataclass(frozen=True, slots=True)
class Health:
    """entries_waiting:    entries of this process that the store does not have yet, in its journal and in memory
    journal_bytes:      the size of what waits in the journal of this process
    alerts_undelivered: alerts in the store that no channel has taken yet, of all processes; 0 without channels
    alerts:             alerts in the store, of all processes, by what became of them: "waiting", "told", "given up",
                        "muted"; empty without channels
    """

    entries_waiting: int
    journal_bytes: int
    alerts_undelivered: int
    alerts: Mapping[str, int] = field(default_factory=dict)


def health_of(ledger: Ledger, recorder: Recorder, *, alerts: bool) -> Health:
    """Whoever looks at what waits must not have it written first: the store itself is asked, below the journal."""
    entries, size = recorder.waiting, 0
    layer: Any = ledger
    while True:
        waiting = vars(type(layer)).get("waiting")
        if waiting is not None:
            in_journal, size = layer.waiting
            entries += in_journal
        inner = getattr(layer, "inner", None)
        if inner is None:
            break
        layer = inner
    if not alerts:
        return Health(entries, size, 0)
    # It knows the stores, which only those load that have one.
    from costguard.ledger.parcels import parcel_counts

    return Health(
        entries, size, layer.undelivered(), {str(state): count for state, count in parcel_counts(layer).items()}
    )
