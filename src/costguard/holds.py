"""How much to hold for a call whose cost is not known yet.

strict:   an upper bound: the input's estimate and the caller's own ceiling on the output (or the
          model's), at the dearest rates that could apply.
learned:  a high quantile of what recent calls of the same feature and model really cost beyond their
          input, plus this call's input; the strict bound until there is something to learn from.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_left, insort
from collections import OrderedDict, deque
from collections.abc import Iterable
from functools import lru_cache
from math import ceil
from threading import Lock
from weakref import WeakSet

from costguard.budgets import Holds, Limit
from costguard.call import Call
from costguard.pricing.book import Rates

WINDOW = 64
"""Recent calls that are learned from, for each feature and model."""

QUANTILE = 0.95

MOST_FEATURES = 4096
"""Pairs of feature and model remembered; the least recently used goes first."""

PRIOR_NANOS = 100_000_000
"""A first call of its kind is taken to cost up to 10 cents, or a tenth of the limit if that is less:
its input may be larger than its body shows (a conversation kept by the provider, images, server tools)."""

FALLBACK_MAX_OUTPUT = 128_000

# Published maximum output tokens, where a caller may leave the ceiling out (Anthropic requires it).
# Source: the model pages of developers.openai.com/api/docs/models, November 2026.
_MAX_OUTPUT = (
    (re.compile(r"gpt-4o|chatgpt-4o|gpt-4o-mini"), 16_384),
    (re.compile(r"gpt-4\.1"), 32_768),
    (re.compile(r"gpt-3\.5|gpt-4-turbo|gpt-4-1106|gpt-4-0125"), 4_096),
    (re.compile(r"gpt-4(-0613|-0314)?$"), 8_192),
    (re.compile(r"\bo[134](-|$)"), 100_000),
    (re.compile(r"gpt-[5-9]"), 128_000),
)


@lru_cache(maxsize=1024)
def max_output_tokens(model: str, context_window: int | None) -> int:
    """The most tokens a model can answer with, or a safe guess where nobody says."""
    for pattern, tokens in _MAX_OUTPUT:
        if pattern.search(model):
            return tokens
    return min(context_window or FALLBACK_MAX_OUTPUT, FALLBACK_MAX_OUTPUT)


def is_guessed(model: str) -> bool:
    """Whether `max_output_tokens` is a guess that may be above what the model can do."""
    return not any(pattern.search(model) for pattern, _ in _MAX_OUTPUT)


@lru_cache(maxsize=1024)
def token_rates(context_window: int | None) -> Rates:
    """Rates at which a token costs one, so that holds in tokens are sized as those in USD are."""
    return Rates("any", "any", "tokens", {"input": 1, "output": 1}, context_window=context_window)


class Sizing:
    """How the hold of one call was sized; nano-dollars.

    amount:   what to hold
    bound:    the strict bound
    input:    the part of the bound that is input
    ceiling:  output tokens that the bound covers
    cold:     nothing was learned yet of this feature and model
    floor:    what to hold at the least, if `amount` cannot be had: the bound, or what was learned without the
              room for what was not seen yet
    """

    __slots__ = ("amount", "bound", "ceiling", "cold", "input", "learned")

    def __init__(  # noqa: PLR0917 - the hot path gives them by position
        self, amount: int, bound: int, input: int, ceiling: int, learned: _Learned | None = None, cold: bool = False
    ) -> None:
        self.amount = amount
        self.bound = bound
        self.input = input
        self.ceiling = ceiling
        self.cold = cold
        self.learned = learned

    @property
    def floor(self) -> int:
        learned = self.learned
        return self.bound if learned is None else min(self.amount, max(1, self.input + learned.seen))

    @property
    def expected_output_tokens(self) -> int:
        """The output that `amount` pays for: what an answer is taken to be that nobody reported."""
        if self.bound <= self.input or self.amount >= self.bound:
            return self.ceiling
        return -(-self.ceiling * max(0, self.amount - self.input) // (self.bound - self.input))


class _Learned:
    """What recent calls of one feature and model cost beyond their input; nano-dollars."""

    __slots__ = ("bound_broken", "extra", "kept", "ordered", "seen")

    def __init__(self) -> None:
        self.kept: deque[int] = deque()
        self.ordered: list[int] = []
        self.bound_broken = 0
        self.extra = 0
        self.seen = 0

    def add(self, extra: int, *, broke_bound: bool) -> None:
        # A bound that did not hold is not used as a ceiling until a window of calls has kept to theirs.
        if broke_bound:
            self.bound_broken = WINDOW
        elif self.bound_broken:
            self.bound_broken -= 1
        ordered = self.ordered
        self.kept.append(extra)
        if len(self.kept) > WINDOW:
            oldest = self.kept.popleft()
            if oldest == extra:
                return
            del ordered[bisect_left(ordered, oldest)]
        insort(ordered, extra)
        # The high quantile, widened while the sample is small: twice the first, 1.1 times of ten.
        count = len(ordered)
        self.seen = value = ordered[ceil(QUANTILE * count) - 1]
        self.extra = value + abs(value) // count


def kind_of(call: Call) -> tuple[str, str, str]:
    """What calls are learned from together: feature, provider, model."""
    return (call.tags.value("feature"), call.provider, call.model)


def _prior(limits: tuple[Limit, ...]) -> int:
    return min(PRIOR_NANOS, min((limit.most for limit in limits), default=0) // 10)


_sizers: WeakSet[HoldSizer] = WeakSet()


class HoldSizer:
    """Sizes holds and learns from what calls cost. Thread-safe; one for each guard."""

    def __init__(self, mode: Holds = "learned") -> None:
        self.mode = mode
        self._learned: OrderedDict[tuple[str, str, str], _Learned] = OrderedDict()
        self.forked()
        _sizers.add(self)

    def forked(self) -> None:
        """In a child process, where the thread that may have held the lock is not."""
        self._lock = Lock()

    def is_strict(self, limits: tuple[Limit, ...]) -> bool:
        """One strict budget among those of a call makes its hold strict: the hold is one amount for all."""
        strict = self.mode == "strict"
        for limit in limits:
            holds = limit.budget.holds
            if holds == "strict" or (holds is None and strict):
                return True
        return False

    def knows(self, call: Call) -> bool:
        return kind_of(call) in self._learned

    def size(self, call: Call, rates: Rates, limits: tuple[Limit, ...]) -> Sizing:
        """Size the hold of a call at these rates, on these limits."""
        tokens = call.input_tokens
        ceiling = call.max_output_tokens
        if not call.produces_output:
            ceiling = 0
        elif ceiling is None:
            ceiling = max_output_tokens(call.model, rates.context_window)
        cost_of_input, bound = rates.bounds(tokens, ceiling)
        if not bound and call.produces_output and any(rates.rates.values()):
            # Priced by the second, the character or the image: tokens bound nothing, and it is not free.
            bound = _prior(limits)
        if self.is_strict(limits):
            return Sizing(bound, bound, cost_of_input, ceiling)
        learned = self._learned.get(kind_of(call))
        if learned is None:
            return Sizing(max(bound, _prior(limits)), bound, cost_of_input, ceiling, cold=True)
        amount = cost_of_input + learned.extra
        if amount > bound and not learned.bound_broken:
            amount = bound
        return Sizing(amount if amount > 0 else 1, bound, cost_of_input, ceiling, learned)

    def learn(self, call: Call, nanos: int, sizing: Sizing | None = None) -> None:
        """What a call that this sizer sized really cost, nano-dollars; in the unit of `sizing` if one is given."""
        if sizing is None:
            sizing = call.sizing
        if sizing is None or not (sizing.cold or sizing.learned):
            return  # held strictly
        with self._lock:
            learned = sizing.learned or self._for(kind_of(call))
            learned.add(nanos - sizing.input, broke_bound=nanos > sizing.bound)

    def seed(self, call: Call, extras: Iterable[int]) -> None:
        """Costs beyond their input of earlier calls of this feature and model, oldest first."""
        with self._lock:
            if kind_of(call) not in self._learned:
                for extra in extras:
                    self._for(kind_of(call)).add(extra, broke_bound=False)

    def _for(self, key: tuple[str, str, str]) -> _Learned:
        learned = self._learned.get(key)
        if learned is None:
            learned = self._learned[key] = _Learned()
            if len(self._learned) > MOST_FEATURES:
                self._learned.popitem(last=False)
        else:
            self._learned.move_to_end(key)
        return learned


def _after_fork() -> None:
    for sizer in list(_sizers):
        sizer.forked()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork)
