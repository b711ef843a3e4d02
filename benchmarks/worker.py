"""A contender in a process of its own: it measures one batch of each variant whenever it reads a line.

The orchestrator goes round robin over such processes, so that a slow minute of the machine hits all
of them alike. Runs in environments without costguard: only the standard library is imported here.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TextIO

from benchmarks.timing import cpu, versions

_MISSING = object()

WARM_UP = 100
"""Calls before a batch is measured."""


def nothing() -> None:
    """What a variant does that has nothing to do."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way of making the same calls.

    run:      makes that many calls
    base:     the variant it is compared with, "" for a baseline
    on, off:  put the contender in place, take it away: not measured
    finish:   waits for background work, measured as CPU of the process
    units:    what one call is divided by, such as the chunks of a stream
    """

    name: str
    run: Callable[[int], object]
    base: str = ""
    on: Callable[[], object] = nothing
    off: Callable[[], object] = nothing
    finish: Callable[[], object] = nothing
    units: int = 1


def serve(variants: Sequence[Variant], packages: Iterable[str]) -> None:
    """Answer each line `{"calls": n}` with one line of nanoseconds per unit, until stdin ends.

    Each variant is measured right after its baseline: thread and process with it, thread and process without.
    """
    out = take_stdout()
    named = {variant.name: variant for variant in variants}
    pairs = [(variant, named[variant.base]) for variant in variants if variant.base]
    for variant, base in pairs:
        _measure(base, 2), _measure(variant, 2)
    names = [variant.name for variant, _ in pairs]
    print(json.dumps({"packages": versions(packages), "variants": names}), file=out)
    for line in sys.stdin:
        calls = json.loads(line)["calls"]
        found = {}
        for variant, base in pairs:
            without = _measure(base, calls)
            found[variant.name] = (*_measure(variant, calls), *without)
        print(json.dumps(found), file=out)


def _measure(variant: Variant, calls: int) -> tuple[float, float]:
    # Nobody pays for what the one before left behind. Before the warm-up: a full collection also empties the
    # interpreter's free lists, which costs the next calls microseconds each.
    gc.collect()
    variant.on()
    try:
        # Patching a class empties the inline caches of the interpreter: a hundred calls fill them again.
        variant.run(1 if variant.units > 1 else WARM_UP)
        variant.finish()
        taken = cpu(variant.run, calls, finish=variant.finish, units=variant.units)
    finally:
        variant.off()
    return taken.thread, taken.process


def take_stdout() -> TextIO:
    """The protocol's stream; what contenders print goes to stderr."""
    out, sys.stdout = sys.stdout, sys.stderr
    out.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    return out


class Patches:
    """What a contender changed in the classes of a package, so that it can be taken away and put back.

    Most instrumentors cannot be undone, or not undone and redone; setting the attributes can.
    """

    def __init__(self, package: ModuleType) -> None:
        self._prefix = package.__name__
        self._before = {cls: dict(vars(cls)) for cls in self._classes()}
        self._changed: list[tuple[type, str, Any, Any]] = []

    def _classes(self) -> set[type]:
        found: set[type] = set()
        for name, module in list(sys.modules.items()):
            if module is not None and (name == self._prefix or name.startswith(f"{self._prefix}.")):
                found.update(value for value in vars(module).values() if isinstance(value, type))
        return {cls for cls in found if cls.__module__.startswith(self._prefix)}

    def installed(self) -> Patches:
        """Call once the contender is in place."""
        for cls, before in self._before.items():
            now = dict(vars(cls))
            for name in before.keys() | now.keys():
                old, new = before.get(name, _MISSING), now.get(name, _MISSING)
                if old is not new and not name.startswith("__"):
                    self._changed.append((cls, name, old, new))
        return self

    def on(self) -> None:
        for cls, name, _, new in self._changed:
            _set(cls, name, new)

    def off(self) -> None:
        for cls, name, old, _ in self._changed:
            _set(cls, name, old)


def _set(cls: type, name: str, value: Any) -> None:
    if value is not _MISSING:
        setattr(cls, name, value)
    elif name in vars(cls):
        delattr(cls, name)
