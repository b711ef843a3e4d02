"""costguard: LLM spend attributed, bounded and visible, inside your own app."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from costguard.carry import carry
from costguard.errors import (
    BudgetExceeded,
    ConfigError,
    CostGuardError,
    MissingExtra,
    StoreUnavailable,
    UnpricedModel,
)
from costguard.tags import UNATTRIBUTED, Tags, bind_tags, current_tags, tagged
from costguard.version import __version__

if TYPE_CHECKING:
    from costguard.alerts.alert import Alert
    from costguard.alerts.slack import slack
    from costguard.budgets import Budget, Standing
    from costguard.events import Downgraded, Entry, Refused, Settled
    from costguard.executors import CarryingExecutor
    from costguard.grants import Grant
    from costguard.guard import Guard
    from costguard.pricing.usage import Usage
    from costguard.providers.instrument import instrument
    from costguard.sealing import open_sealed, seal_tags

_LAZY = {
    "Alert": "costguard.alerts.alert",
    "Budget": "costguard.budgets",
    "CarryingExecutor": "costguard.executors",
    "Downgraded": "costguard.events",
    "Entry": "costguard.events",
    "Grant": "costguard.grants",
    "Guard": "costguard.guard",
    "Refused": "costguard.events",
    "Settled": "costguard.events",
    "Standing": "costguard.budgets",
    "Usage": "costguard.pricing.usage",
    "instrument": "costguard.providers.instrument",
    "open_sealed": "costguard.sealing",
    "seal_tags": "costguard.sealing",
    "slack": "costguard.alerts.slack",
}

__all__ = [
    "UNATTRIBUTED",
    "Alert",
    "Budget",
    "BudgetExceeded",
    "CarryingExecutor",
    "ConfigError",
    "CostGuardError",
    "Downgraded",
    "Entry",
    "Grant",
    "Guard",
    "MissingExtra",
    "Refused",
    "Settled",
    "Standing",
    "StoreUnavailable",
    "Tags",
    "UnpricedModel",
    "Usage",
    "__version__",
    "bind_tags",
    "carry",
    "current_tags",
    "instrument",
    "open_sealed",
    "seal_tags",
    "slack",
    "tagged",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'costguard' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
