"""The wrapped functions of SDKs whose row names them: every SDK that is not Stainless."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakSet

from costguard.errors import ConfigError
from costguard.providers.outer import outermost
from costguard.providers.patching import ClassPatch, FunctionPatch
from costguard.providers.policy import Policy
from costguard.providers.rows import Provider, Seam

log = logging.getLogger("costguard.providers")

POLICY = "_costguard_policy"
"""Attribute of a client's owner: who is asked about its calls, before the policy of all clients."""


class Seams:
    """All of one row. A function that this version of the SDK has not is left out; a row without any is told of.

    policy: who answers for every client now, None: nobody
    """

    def __init__(self, row: Provider, policy: Callable[[], Policy | None]) -> None:
        self._row = row
        self._policy = policy
        self._patches: dict[Seam, ClassPatch | FunctionPatch] = {}
        self._clients: WeakSet[Any] = WeakSet()

    def apply(self) -> None:
        """Patch what is imported by now; again, also what others put over it since."""
        for seam in self._row.seams:
            module = sys.modules.get(seam.module)
            if module is None:
                continue
            patch = self._patches.get(seam)
            if patch is None:
                patch = self._find(module, seam)
                if patch is None:
                    continue
                self._patches[seam] = patch
            patch.apply()
        if not self._patches and any(seam.module in sys.modules for seam in self._row.seams):
            log.error(
                "%s has none of the functions that costguard knows, so that its calls are not seen; "
                "this version of costguard does not know it",
                self._row.package,
            )

    def undo(self) -> None:
        """Unless single clients still need it."""
        if not len(self._clients):
            for patch in self._patches.values():
                patch.undo()
            self._patches.clear()

    def watch(self, client: Any, policy: Policy) -> None:
        owner = self._owner(client)
        vars(owner)[POLICY] = policy
        self._clients.add(owner)
        self.apply()

    def unwatch(self, client: Any) -> None:
        owner = self._owner(client)
        vars(owner).pop(POLICY, None)
        self._clients.discard(owner)
        if self._policy() is None:
            self.undo()

    def owns(self, client: Any) -> bool:
        """Whether a client is one of this SDK."""
        names = {f"{cls.__module__}.{cls.__qualname__}" for cls in type(client).__mro__}
        return not names.isdisjoint(self._row.clients)

    def _owner(self, client: Any) -> Any:
        try:
            return client if self._row.owner is None else self._row.owner(client)
        except AttributeError as error:
            raise ConfigError(
                f"instrument() cannot watch a single {type(client).__qualname__}: {error}; guard.instrument() watches "
                "all of them"
            ) from error

    def _find(self, module: Any, seam: Seam) -> ClassPatch | FunctionPatch | None:
        holder, _, name = seam.name.rpartition(".")
        wrap = partial(seam.wrap, row=self._row, policy_of=self._policy_of)
        if not holder:
            # While a package is being imported, one of its modules may have the name.
            return FunctionPatch(module, name, wrap) if callable(getattr(module, name, None)) else None
        cls = getattr(module, holder, None)
        return ClassPatch(cls, name, wrap) if cls is not None and hasattr(cls, name) else None

    def _policy_of(self, client: Any) -> Policy | None:
        if len(self._clients):
            owner = client if self._row.owner is None else self._row.owner(client)
            policy: Policy | None = getattr(owner, "__dict__", {}).get(POLICY)
            if policy is not None:
                return outermost(policy)
        return self._policy()
