"""The measurements of OpenTelemetry, made when they are collected: none costs a call more than to be put in a queue."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Any

from costguard.call import Call
from costguard.events import Downgraded, Entry, Refused
from costguard.telemetry.attributes import Value, of_metric
from costguard.telemetry.forks import in_child
from costguard.telemetry.heavy import HeavyHitters
from costguard.telemetry.watched import Waiting, Watched, shared_standings, waiting_of

_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
"""The boundaries that the GenAI conventions ask for (https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/)."""
_USD = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10)
"""Calls cost cents: with the default boundaries all would be in one bucket."""

_MOST = 100
"""Values of each attribute with series of their own: names of models and features may come from users."""

_MOST_PENDING = 2000
"""Calls that may wait for the next collection; with more the oldest are measured by the calls themselves."""

_BOUND = (
    "gen_ai.request.model", "gen_ai.response.model", "costguard.feature", "deployment.environment.name",
)  # fmt: skip

Key = tuple[tuple[str, Value], ...]


class Measures:
    """meter: of OpenTelemetry"""

    def __init__(self, meter: Any) -> None:
        from opentelemetry.metrics import Observation

        self._meter = meter
        self._observation = Observation
        self._few = {name: HeavyHitters(_MOST, first=_MOST // 2) for name in _BOUND}
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

    def forked(self) -> None:
        """Nothing was measured yet in this process."""
        self._lock = Lock()
        self._pending: deque[tuple[Entry, str]] = deque()
        self._running: dict[str, Call] = {}
        self._sums: dict[str, dict[Key, int]] = {"cost": {}, "unpriced": {}}

    def watch(self, guard: Watched) -> None:
        """Tell what waits in this guard, and where the budgets stand that everyone shares."""

        def health(name: str, unit: str, text: str, read: Callable[[Waiting], int]) -> None:
            def observe(_options: Any) -> Iterable[Any]:
                waiting = waiting_of(guard)
                return [] if waiting is None else [self._observation(read(waiting))]

            self._meter.create_observable_gauge(name, [observe], unit, text)

        health("costguard.journal.entries", "{entry}", "Entries not in the store yet", lambda at: at.entries_waiting)
        health("costguard.journal.size", "By", "Size of the journal of this process", lambda at: at.journal_bytes)
        health("costguard.alerts.undelivered", "{alert}", "Alerts not told yet", lambda at: at.alerts_undelivered)

        def used(_options: Any) -> Iterable[Any]:
            for standing in shared_standings(guard):
                if standing.limit:
                    taken = (standing.spent + standing.held) / standing.limit
                    yield self._observation(float(taken), {"costguard.budget": str(standing.budget)})

        self._meter.create_observable_gauge("costguard.budget.used", [used], "1", "Share of a budget spent or held")

    def began(self, call: Call) -> None:
        self._running[call.id] = call

    def ended(self, call: Call) -> None:
        self._running.pop(call.id, None)

    def settled(self, entry: Entry, asked: str) -> None:
        self._pending.append((entry, asked))
        if len(self._pending) > _MOST_PENDING:
            self._measure_next()

    def _measure_all(self) -> None:
        """Called by each collection before it reads the histograms: the SDK asks what is observed first."""
        for _ in range(len(self._pending)):
            self._measure_next()

    def _measure_next(self) -> None:
        try:
            entry, asked = self._pending.popleft()
        except IndexError:  # another thread was faster
            return
        where = of_metric(entry, asked)
        nanos = entry.nanos
        for name, few in self._few.items():
            value = where.get(name)
            if value is not None:
                where[name] = few.name(str(value), max(0, nanos or 0))
        usage = entry.usage
        self._duration.record(entry.duration_ns / 1e9, where)
        for kind, count in (("input", usage.input_tokens), ("output", usage.output_tokens)):
            if count:
                self._tokens.record(count, {**where, "gen_ai.token.type": kind})
        if nanos is not None:
            self._call_cost.record(nanos / 1e9, where)
        sums = self._sums["unpriced" if nanos is None else "cost"]
        amount = 1 if nanos is None else max(0, nanos)
        key = tuple(where.items())
        with self._lock:
            sums[key] = sums.get(key, 0) + amount

    def refused(self, event: Refused) -> None:
        budget = event.standing.budget
        self._refused.add(
            1, {"costguard.budget": str(budget), "costguard.busy": event.busy, "costguard.observed": event.observed}
        )

    def downgraded(self, event: Downgraded) -> None:
        few = self._few["gen_ai.request.model"]
        self._downgraded.add(
            1, {"gen_ai.request.model": few.name(event.asked, 0), "gen_ai.response.model": few.name(event.model, 0)}
        )

    def _holds(self) -> list[int]:
        return [call.hold.amount for call in list(self._running.values()) if call.hold is not None]

    def _observed(self, name: str, unit: float) -> list[Any]:
        self._measure_all()
        with self._lock:
            return [self._observation(amount / unit, dict(key)) for key, amount in self._sums[name].items()]
