"""One driver for each SDK: it sends recorded exchanges through the SDK method that issued them.

A driver is a module with

    takes(record) -> bool
    KINDS                          ("sync", "async"), or what the SDK has of them
    class Clients                  made once per event loop, with `async def close()`
    async def run(clients, server, record, kind, options="") -> Recording
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType


def drivers(*names: str) -> list[ModuleType]:
    """The drivers of these names, else all of them."""
    found = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return [importlib.import_module(f"{__name__}.{name}") for name in names or found]


def name_of(driver: ModuleType) -> str:
    return driver.__name__.rpartition(".")[2]
