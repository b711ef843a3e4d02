"""What budgets do before a limit is reached: tell people, ask another model, ask for a shorter answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

from costguard.budgets import Limit
from costguard.call import Call, Particulars
from costguard.events import Downgraded, Hold
from costguard.ledger.base import Refusal
from costguard.local_limits import standing
from costguard.pricing.book import Rates
from costguard.tags import Frame
from costguard.terms import Terms

log = logging.getLogger("costguard")

_DOWNGRADE = "downgrade:"
_TYPICAL_OUTPUT = 1_000
"""Output tokens at which two models are compared in price."""

_warned: set[str] = set()


def acting(
    counted: Sequence[Limit],
    windows: Sequence[Limit],
    frame: Frame | None,
    now: Callable[[Sequence[Limit]], Sequence[tuple[int, int]]],
) -> list[Refusal]:
    """Where those of these limits that have actions stand: `now` asks the ledger, `windows` are in memory."""
    asked = [limit for limit in counted if limit.actions]
    found = [Refusal(limit, *balance) for limit, balance in zip(asked, now(asked), strict=True)] if asked else []
    return found + [standing(limit, frame) for limit in windows if limit.actions]


class SoftActions:
    """The actions whose fraction of a limit one call reaches, with all that is spent and held, its own hold included.

    standings: limits with actions, and where they stand

    People are told (`alert`) by the limit's marks, when the spending itself passes them.
    """

    def __init__(self, terms: Terms, call: Call, standings: Sequence[Refusal], hold: Hold) -> None:
        self._terms = terms
        self._call = call
        self._reached: list[tuple[float, str, Limit, int, int]] = []
        for found in standings:
            limit, spent, held = found.limit, found.spent, found.held
            for threshold, action in limit.actions:
                if action != "alert" and spent + held + hold.on(limit) >= threshold:
                    fraction = (threshold + limit.prior) / max(1, limit.most + limit.prior)
                    self._reached.append((fraction, action, limit, spent, held))

    def downgrade(self, rates: Rates | None) -> Rates | None:
        """Ask the model of the highest fraction that is reached; its rates, None if the call stays as it is.

        Never a dearer model than the caller's, and none without a price.
        """
        wanted = [each for each in self._reached if each[1].startswith(_DOWNGRADE)]
        call = self._call
        if not wanted or call.knobs is None:
            return None
        _, action, limit, spent, held = max(wanted, key=lambda each: each[0])
        model = action.removeprefix(_DOWNGRADE)
        if model == call.model:
            return None
        found = self._terms.book.rates(call.provider, model, call.started_ns, call.context)
        if found is None:
            if model not in _warned:
                _warned.add(model)
                log.warning("%s is not downgraded to %r: %s has no price for it", call.model, model, call.provider)
            return None
        tokens = call.input_tokens, _TYPICAL_OUTPUT
        if rates is not None and found.bound(*tokens) >= rates.bound(*tokens):
            return None
        if not call.knobs.change_model(model):
            return None
        before, call.model = call.model, model
        if call.particulars is None:
            call.particulars = Particulars()
        call.particulars.add(f"downgraded from {before} by {limit.budget.title}")
        if call.frame is not None:
            call.frame.downgrade(before, model)
        self._terms.emit(Downgraded(call, limit.standing(spent, held), before, model))
        return found

    def rooms(self) -> Iterator[tuple[Limit, int]]:
        """The limits that want answers to fit, and what is left of each."""
        for _, action, limit, spent, held in self._reached:
            if action == "fit":
                yield limit, limit.most - spent - held
