"""The measurements of OpenTelemetry, made when they are collected: none costs a call more than to be put in a queue."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from costguard.call import Call
from costguard.events import Downgraded, Entry, Refused
from costguard.telemetry.attributes import Value, of_metric
from costguard.telemetry.forks import in_child
from costguard.telemetry.heavy import OTHER, HeavyHitters
from costguard.telemetry.later import Later
from costguard.telemetry.named import Names
from costguard.telemetry.tokens import tokens_of
from costguard.telemetry.watched import Waiting, Watched, shared_standings, waiting_by_store, waiting_of

_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
"""The boundaries that the GenAI conventions ask for (https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/)."""
_USD = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10)
"""Calls cost cents: with the default boundaries all would be in one bucket."""

_MOST = 100
"""Values of each attribute with series of their own: names of models and features may come from users."""

_MOST_SERIES = 2000
"""Sets of attributes, of all their values together; calls of further ones are told as `other` of each."""

_BOUND = (
    "gen_ai.request.model", "gen_ai.response.model", "costguard.feature", "deployment.environment.name",
    "gen_ai.provider.name",
)  # fmt: skip

_NOT_SET_UP = "_ProxyMeterProvider"
"""What OpenTelemetry's API hands out until the app has set up the global provider."""

_made: WeakValueDictionary[int, Measures] = WeakValueDictionary()
_making = Lock()

Key = tuple[tuple[str, Value], ...]


def measures_of(meter_provider: Any) -> Measures:
    """Those of this provider, OpenTelemetry's global one if None: it takes the instruments of a name once."""
    from opentelemetry import metrics

    # The same one may be given by one guard and be the global one of another.
    everybodys = metrics.get_meter_provider()
    provider = everybodys if meter_provider is None else meter_provider
    if type(provider).__name__ == _NOT_SET_UP:
        provider = None
    with _making:
        made = _made.get(id(provider))
        if made is None and provider is everybodys:
            # Made before the app has set it up: they tell it, too.
            made = _made.get(id(None))
        if made is None:
            made = _made[id(provider)] = Measures(provider)
        return made


class Measures:
    """Of all guards that tell the same provider."""

    def __init__(self, meter_provider: Any) -> None:
        from opentelemetry import metrics

        self._metrics = metrics
        self._given = meter_provider
        meter = self._meter = metrics.get_meter("costguard", meter_provider=meter_provider)
        Observation = self._observation = metrics.Observation  # noqa: N806
        self._guards: WeakKeyDictionary[Watched, Names] = WeakKeyDictionary()
        self._few = {name: HeavyHitters(_MOST, first=_MOST // 2) for name in _BOUND}
        self._pending = Later(self._measure, self._silent)
        self.forked()
        in_child(self)
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration", "s", "GenAI operation duration",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )  # fmt: skip
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage", "{token}", "Number of input and output tokens used",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )  # fmt: skip
        self._call_cost = meter.create_histogram(
            "costguard.call.cost", "{USD}", "Cost of one call", explicit_bucket_boundaries_advisory=_USD
        )
        self._refused = meter.create_counter("costguard.refusals", "{call}", "Calls that did not fit a budget")
        self._downgraded = meter.create_counter("costguard.downgrades", "{call}", "Calls made with another model")
        meter.create_observable_counter(
            "costguard.cost", [lambda _: self._observed("cost", 1e9)], "{USD}", "Cost of calls"
        )
        meter.create_observable_counter(
            "costguard.calls.unpriced", [lambda _: self._observed("unpriced", 1)], "{call}",
            "Calls without a known price",
        )  # fmt: skip
        meter.create_observable_up_down_counter(
            "costguard.calls.running", [lambda _: [Observation(len(self._running))]], "{call}", "Calls now under way"
        )
        meter.create_observable_up_down_counter(
            "costguard.held", [lambda _: [Observation(sum(self._holds()) / 1e9)]], "{USD}",
            "Held for the calls of this process that are under way",
        )  # fmt: skip
        for name, unit, text, observe in (
            ("costguard.journal.entries", "{entry}", "Entries of this process not in the store yet", self._entries),
            ("costguard.journal.size", "By", "Size of the journal of this process", self._journal),
            ("costguard.alerts.undelivered", "{alert}", "Alerts of all processes not told yet", self._undelivered),
            # No counter: one that was given up may be told after all.
            ("costguard.alerts", "{alert}", "Alerts of all processes, by what became of them", self._alerts),
            ("costguard.budget.used", "1", "Share of a budget spent or held", self._used),
        ):
            meter.create_observable_gauge(name, [observe], unit, text)

    def forked(self) -> None:
        """Nothing was measured yet in this process."""
        self._lock = Lock()
        self._running: dict[str, Call] = {}
        self._sums: dict[str, dict[Key, int]] = {"cost": {}, "unpriced": {}}
        self._series: set[Key] = set()

    def watch(self, guard: Watched, names: Names) -> None:
        """Tell what waits in this guard, and where the budgets stand that everyone shares. names: of its budgets"""
        self._guards[guard] = names

    def _entries(self, _options: Any) -> list[Any]:
        return self._waits(lambda at: at.entries_waiting)

    def _journal(self, _options: Any) -> list[Any]:
        return self._waits(lambda at: at.journal_bytes)

    def _undelivered(self, _options: Any) -> list[Any]:
        known = waiting_by_store(list(self._guards))
        return [self._observation(sum([at.alerts_undelivered for at in known]))] if known else []

    def _waits(self, read: Callable[[Waiting], int]) -> list[Any]:
        """Without asking the store, as most waits while it is away."""
        known = [at for guard in list(self._guards) if (at := waiting_of(guard, here=True)) is not None]
        return [self._observation(sum(map(read, known)))] if known else []

    def _alerts(self, _options: Any) -> list[Any]:
        sums: dict[str, int] = {}
        for waiting in waiting_by_store(list(self._guards)):
            for outcome, count in waiting.alerts.items():
                sums[outcome] = sums.get(outcome, 0) + count
        return [self._observation(count, {"costguard.outcome": outcome}) for outcome, count in sums.items()]

    def _used(self, _options: Any) -> list[Any]:
        used: dict[str, float] = {}
        for guard, names in list(self._guards.items()):
            for standing in shared_standings(guard):
                if standing.limit:
                    name = names.of(standing.budget)
                    taken = float((standing.spent + standing.held) / standing.limit)
                    used[name] = max(taken, used.get(name, 0.0))
        return [self._observation(taken, {"costguard.budget": name}) for name, taken in used.items()]

    def began(self, call: Call) -> None:
        self._running[call.id] = call

    def ended(self, call: Call) -> None:
        self._running.pop(call.id, None)

    def settled(self, entry: Entry, asked: str) -> None:
        self._pending.put((entry, asked))

    def _silent(self) -> bool:
        """Whether nobody has set up OpenTelemetry's metrics, or has switched them off: nobody collects."""
        provider = self._given or self._metrics.get_meter_provider()
        return type(provider).__name__ in (_NOT_SET_UP, "NoOpMeterProvider")

    def _measure(self, ended: tuple[Entry, str]) -> None:
        entry, asked = ended
        where = of_metric(entry, asked)
        nanos = entry.nanos
        for name, few in self._few.items():
            value = where.get(name)
            if value is not None:
                where[name] = few.name(str(value), max(0, nanos or 0))
        key = tuple(where.items())
        if key not in self._series:
            if len(self._series) >= _MOST_SERIES:
                where |= {name: OTHER for name in _BOUND if name in where}
                key = tuple(where.items())
            self._series.add(key)
        given, answered, *_ = tokens_of(entry.usage)
        for kind, count in (("input", given), ("output", answered)):
            if count:
                self._tokens.record(count, {**where, "gen_ai.token.type": kind})
        if entry.attempts:
            # What is billed beside a call has no duration of its own.
            self._duration.record(entry.duration_ns / 1e9, where)
            if nanos is not None:
                self._call_cost.record(nanos / 1e9, where)
        sums = self._sums["unpriced" if nanos is None else "cost"]
        amount = 1 if nanos is None else max(0, nanos)
        with self._lock:
            sums[key] = sums.get(key, 0) + amount

    def refused(self, event: Refused, budget: str) -> None:
        self._refused.add(
            1, {"costguard.budget": budget, "costguard.busy": event.busy, "costguard.observed": event.observed}
        )

    def downgraded(self, event: Downgraded) -> None:
        few = self._few["gen_ai.request.model"]
        self._downgraded.add(
            1, {"gen_ai.request.model": few.name(event.asked, 0), "gen_ai.response.model": few.name(event.model, 0)}
        )

    def _holds(self) -> list[int]:
        return [call.hold.amount for call in list(self._running.values()) if call.hold is not None]

    def _observed(self, name: str, unit: float) -> list[Any]:
        # Each collection comes here before it reads the histograms: the SDK asks what is observed first.
        self._pending.all()
        with self._lock:
            return [self._observation(amount / unit, dict(key)) for key, amount in self._sums[name].items()]
