"""What the calls of each feature look like: models, tokens, caching, how they end, how long they take."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from costguard.events import Status
from costguard.pricing.rates import Rates
from costguard.pricing.usage import NO_USAGE, Usage

IN_A_POOL = 1_000
"""Different calls of one feature with one model."""

_ERRORS, _CANCELLED, _CLOSED, _RETRIED = 0.012, 0.002, 0.008, 0.015


@dataclass(frozen=True, slots=True)
class Model:
    """since: the part of the period (0 to 1) after which it is used; part: of the feature's calls, from then on."""

    provider: str
    name: str
    since: float = 0.0
    part: float = 1.0


@dataclass(frozen=True)
class Feature:
    """share: of all calls, roughly; tokens: the median of input and output; cached: the chance of a cache hit."""

    name: str
    route: str
    share: float
    models: tuple[Model, ...]
    tokens: tuple[int, int]
    cached: float = 0.0
    written: float = 0.0
    reasoning: float = 0.0
    streamed: float = 0.0
    operation: str = "chat"
    team: str | None = None
    nightly: bool = False
    runs_away: bool = False

    def in_use(self, gone: float) -> list[Model]:
        """The models once this part of the period is gone: a later one takes its part from those before."""
        found: list[Model] = []
        for model in self.models:
            if model.since <= gone:
                left = 1 - model.part
                found = [Model(one.provider, one.name, one.since, one.part * left) for one in found if left]
                found.append(model)
        return found


FEATURES = (
    Feature("chat", "POST /chat", 0.34, (Model("openai", "gpt-4o"), Model("openai", "gpt-5.1", 0.45, 0.85)),
            (1_900, 340), cached=0.45, streamed=0.9),
    Feature("summarize", "POST /summarize", 0.17, (
        Model("openai", "gpt-4o-mini"), Model("openai", "gpt-5-mini", 0.65, 1.0)), (6_200, 260), cached=0.1),
    Feature("search", "GET /search", 0.20, (Model("openai", "text-embedding-3-small"),), (320, 0),
            operation="embeddings"),
    Feature("agent", "POST /agent/run", 0.13, (
        Model("anthropic", "claude-sonnet-4-5"), Model("anthropic", "claude-haiku-4-5", 0.8, 0.5)), (14_000, 620),
            cached=0.8, written=0.12, streamed=0.5, runs_away=True),
    Feature("classify", "POST /tickets", 0.12, (Model("openai", "gpt-4o-mini"),), (420, 8)),
    Feature("plan", "POST /plan", 0.04, (Model("openai", "o4-mini"),), (2_600, 1_900), reasoning=0.7),
    Feature("lab", "POST /lab", 0.03, (Model("openai", "gpt-4.1-mini"), Model("openai", "atlas-large-preview", 0.6)),
            (1_200, 500), team="research"),
    Feature("nightly-digest", "", 0.05, (Model("google", "gemini-2.5-flash"),), (9_000, 420), nightly=True),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shape:
    """Everything of a call but who made it and when; `held`: nano-dollars; `identified`: the provider gave an id."""

    provider: str
    model: str
    operation: str
    usage: Usage
    rates: Rates | None
    nanos: int | None
    status: Status
    estimated: bool
    streamed: bool
    attempts: int
    held: int
    duration_ns: int
    reason: str | None
    identified: bool


def shapes(rnd: Random, feature: Feature, model: Model, rates: Rates | None) -> list[Shape]:
    """As many as `IN_A_POOL`; what is held for each is what nineteen of twenty cost at most, as it is learned."""
    usages = [_usage(rnd, feature, model) for _ in range(IN_A_POOL)]
    costs = sorted([0 if rates is None else rates.nanos(usage) for usage in usages])
    held = costs[int(0.95 * len(costs))]
    return [_shape(rnd, feature, model, rates, usage=usage, held=held) for usage in usages]


def _shape(rnd: Random, feature: Feature, model: Model, rates: Rates | None, *, usage: Usage, held: int) -> Shape:
    streamed = rnd.random() < feature.streamed
    status: Status = "ok"
    seconds = 0.25 + usage.output_tokens * 0.011 * rnd.lognormvariate(0, 0.35) + usage.input_tokens * 2e-5
    fate = rnd.random()
    estimated = False
    nanos: int | None = None if rates is None else rates.nanos(usage)
    reason = None if rates is not None else f"no price is known for {model.provider} model {model.name!r}"
    if fate < _ERRORS:
        status, usage, nanos, reason, seconds = "error", NO_USAGE, 0, None, 0.1 + rnd.random()
    elif fate < _ERRORS + _CANCELLED:
        status, estimated = "cancelled", True
    elif fate < _ERRORS + _CANCELLED + _CLOSED and streamed:
        status, estimated = "closed", True
    tried_again = rnd.random() < (0.6 if status == "error" else _RETRIED)
    return Shape(
        model.provider, model.name, feature.operation, usage, rates if nanos else None, nanos, status, estimated,
        streamed, rnd.choice((2, 2, 3)) if tried_again else 1, held, int(seconds * 10**6) * 1000, reason,
        identified=status in ("ok", "closed") and feature.operation != "embeddings",
    )  # fmt: skip


def _usage(rnd: Random, feature: Feature, model: Model) -> Usage:
    typical_in, typical_out = feature.tokens
    tokens_in = 12 + int(typical_in * rnd.lognormvariate(0, 0.7))
    tokens_out = 1 + int(typical_out * rnd.lognormvariate(0, 0.6)) if typical_out else 0
    read = write = 0
    if rnd.random() < feature.cached and tokens_in > 1_024:
        # Caches keep whole blocks.
        read = int(tokens_in * rnd.uniform(0.4, 0.92)) // 128 * 128
    if rnd.random() < feature.written and tokens_in - read > 1_024:
        write = (tokens_in - read) // 2
    reasoning = int(tokens_out * feature.reasoning * rnd.uniform(0.6, 1.2)) if feature.reasoning else 0
    return Usage(
        input_tokens=tokens_in, output_tokens=tokens_out, cache_read_tokens=read, cache_write_tokens=write,
        reasoning_tokens=min(reasoning, tokens_out),
    )  # fmt: skip


_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_LOOKS = {"openai": ("chatcmpl-", 29), "anthropic": ("msg_01", 22), "google": ("", 23)}


class ResponseIds:
    """Ids that look like those of each provider."""

    def __init__(self, rnd: Random) -> None:
        self._random = rnd
        # Seven digits at a time: an id costs what four draws cost.
        self._some = ["".join(rnd.choices(_DIGITS, k=7)) for _ in range(20_000)]

    def next(self, provider: str) -> str:
        prefix, length = _LOOKS[provider]
        return prefix + "".join(self._random.choices(self._some, k=5))[:length]
