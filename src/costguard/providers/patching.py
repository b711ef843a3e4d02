"""Replacing functions of an SDK: its whole class tree, at once or when it is imported, undoable in any order.

Other instrumentations put their own `request` on the *subclass* (`OpenAI.request`); if they came first, a patch of
the base class alone is never reached. What others put over ours stays when we go: ours then only passes on.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import FunctionType, ModuleType
from typing import Any

Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]

_OWN = "_costguard_own"


def is_ours(function: Any) -> bool:
    """Whether a function is a wrapper made here; one that only copied its attributes (`functools.wraps`) is not."""
    return isinstance(function, FunctionType) and function.__dict__.get(_OWN) is function


def claim(function: Callable[..., Any]) -> Callable[..., Any]:
    function.__dict__[_OWN] = function
    return function


def _foreign(function: Any) -> bool:
    """Whether another instrumentation put a wrapt.FunctionWrapper here: one that can be gone inside of.

    By its name: some have a copy of wrapt of their own, and that of C says it is of a module `_wrappers`.
    """
    return hasattr(function, "_self_wrapper") and any(
        cls.__name__ == "FunctionWrapper" for cls in type(function).__mro__
    )


class ClassPatch:
    """One method of a class and of every subclass that has its own. `apply` again also takes in new subclasses.

    Ours goes inside of a wrapper that another instrumentation made with wrapt before: then the call is settled within
    the span of that instrumentation, which so gets to know the cost. Other wrappers are wrapped from outside.
    """

    def __init__(self, base: type, name: str, wrap: Wrap) -> None:
        self._base = base
        self._name = name
        self._wrap = wrap
        self._put: list[tuple[type, Any, Any]] = []
        self._inside: list[tuple[Any, Any, Any]] = []

    def apply(self, *, base_only: bool = False) -> None:
        """base_only: for a method whose overrides always call the base's"""
        for cls in [self._base] if base_only else _tree(self._base):
            present = vars(cls).get(self._name)
            if present is None or is_ours(present):
                continue
            if _foreign(present):
                self._go_inside(present)
                continue
            # getattr, not vars: a wrapt.FunctionWrapper taken from vars() cannot be called bare.
            wrapper = claim(self._wrap(getattr(cls, self._name)))
            setattr(cls, self._name, wrapper)
            self._put.append((cls, present, wrapper))

    def _go_inside(self, outer: Any) -> None:
        while _foreign(outer.__wrapped__):
            outer = outer.__wrapped__
        inner = outer.__wrapped__
        if not is_ours(inner):
            wrapper = claim(self._wrap(inner))
            outer.__wrapped__ = wrapper
            self._inside.append((outer, inner, wrapper))

    def undo(self) -> None:
        for outer, inner, wrapper in reversed(self._inside):
            if outer.__wrapped__ is wrapper:
                outer.__wrapped__ = inner
            for cls in _tree(self._base):
                # The other instrumentation went first, and left what it had wrapped.
                if vars(cls).get(self._name) is wrapper:
                    setattr(cls, self._name, inner)
        self._inside.clear()
        for cls, present, wrapper in reversed(self._put):
            if vars(cls).get(self._name) is wrapper:
                setattr(cls, self._name, present)
        self._put.clear()


class FunctionPatch:
    """One function of a module. Who imported it by name before keeps what it was."""

    def __init__(self, module: ModuleType, name: str, wrap: Wrap) -> None:
        self._module = module
        self._name = name
        self._wrap = wrap
        self._before: Any = None
        self._put: Any = None

    def apply(self) -> None:
        present = getattr(self._module, self._name)
        if not is_ours(present):
            self._before, self._put = present, claim(self._wrap(present))
            setattr(self._module, self._name, self._put)

    def undo(self) -> None:
        if self._put is not None and getattr(self._module, self._name, None) is self._put:
            setattr(self._module, self._name, self._before)
        self._put = None


def _tree(base: type) -> Iterator[type]:
    seen = set()
    waiting = [base]
    while waiting:
        cls = waiting.pop()
        if cls not in seen:
            seen.add(cls)
            waiting.extend(cls.__subclasses__())
            yield cls


class ImportHook:
    """Runs `then(name)` right after a module of `names` has been imported; a finder on `sys.meta_path`."""

    def __init__(self, names: Sequence[str], then: Callable[[str], None]) -> None:
        self._names = frozenset(names)
        self._then = then
        self._finding = False

    def add(self) -> None:
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def remove(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in self._names or self._finding:
            return None
        self._finding = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._finding = False
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self._then)  # type: ignore[assignment]
        return spec


class _Loader:
    """The module's own loader, with one thing done after it."""

    def __init__(self, loader: Any, then: Callable[[str], None]) -> None:
        self._loader = loader
        self._then = then

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        # Nothing of ours stays on the module.
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._then(module.__name__)
