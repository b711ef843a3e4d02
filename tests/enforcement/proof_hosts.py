"""A host: a process with a guard and a wall clock of its own, that does what it is told, one thing after the other."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

from costguard import BudgetExceeded, Usage, tagged
from costguard.call import Call
from costguard.events import Outcome
from tests.enforcement.proof_processes import Child, start
from tests.enforcement.proof_stores import Place


def _serve(place: Place, options: dict[str, Any], line: Any) -> None:
    true_ns, ahead = time.time_ns, 0
    time.time_ns = lambda: true_ns() + ahead
    time.time = lambda: time.time_ns() / 1e9
    guard = place.guard(**options)
    calls: dict[str, Call] = {}
    while True:
        verb, *given = line.recv()
        if verb == "end":
            guard.close()
            return
        if verb == "set_clock":
            ahead = int(given[0] * 10**9)
            line.send(None)
        elif verb == "reserve":
            with tagged(name=given[0]):
                call = calls[given[0]] = Call("openai", "gpt-4o", max_output_tokens=10_000)
            try:
                guard.reserve(call)
            except BudgetExceeded as refusal:
                line.send("busy" if refusal.busy else "exceeded")
            else:
                line.send("held")
        elif verb == "settle":
            guard.settle(calls[given[0]], Outcome("ok", Usage(output_tokens=given[1])))
            line.send(None)
        elif verb == "standing":
            standings = guard.standings()
            line.send([(standing.spent, standing.held) for standing in standings])
        else:
            line.send({entry.tags["name"]: (entry.status, entry.cost) for entry in guard.entries()})


class Host:
    """`options` are the guard's."""

    def __init__(self, place: Place, **options: Any) -> None:
        self._child: Child = start(_serve, place, options)

    def _ask(self, *words: Any) -> Any:
        self._child.line.send(words)
        assert self._child.line.poll(60), f"a host does not answer {words}"
        return self._child.line.recv()

    def set_clock(self, seconds: float) -> None:
        """So many seconds ahead of the true time from now on."""
        self._ask("set_clock", seconds)

    def reserve(self, name: str) -> str:
        """A call of ten cents: "held", "busy" or "exceeded"."""
        return str(self._ask("reserve", name))

    def settle(self, name: str, tokens: int = 10_000) -> None:
        self._ask("settle", name, tokens)

    def standing(self) -> list[tuple[Decimal, Decimal]]:
        """(spent, held) of each budget."""
        found: list[tuple[Decimal, Decimal]] = self._ask("standing")
        return found

    def entries(self) -> dict[str, tuple[str, Decimal]]:
        """(status, cost) by name."""
        found: dict[str, tuple[str, Decimal]] = self._ask("entries")
        return found

    def kill(self) -> None:
        self._child.kill()

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child.process.is_alive():
            self._child.line.send(("end",))
            self._child.process.join(20)
            self._child.process.kill()
