"""What the wrappers call. They do not know who answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from costguard.call import Call
from costguard.events import Outcome


class Policy(Protocol):
    """Two verbs. `reserve` may raise `BudgetExceeded`, `UnpricedModel` or `StoreUnavailable`, which
    reach the caller untouched, and the provider is not called. So does what interrupts it (a time limit
    of a job queue, a cancellation): a policy sees to its own faults. `settle` never raises.

    Every call that was reserved is settled exactly once. Until it is sent, `call.knobs` can alter it.
    """

    def reserve(self, call: Call) -> None: ...

    async def reserve_async(self, call: Call) -> None: ...

    def settle(self, call: Call, outcome: Outcome) -> None: ...

    def settling(self, call: Call, outcome: Outcome) -> Callable[[], Awaitable[None]] | None:
        """`settle` for async code: None if it is done, else what waits until it is. It is done in any case."""
        ...
