"""Counters and histograms for Prometheus, by its own client library; multiprocess mode included."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from weakref import WeakSet

from costguard.call import Call
from costguard.errors import ConfigError, MissingExtra
from costguard.events import Downgraded, Entry, Refused, Settled
from costguard.tags import UNATTRIBUTED
from costguard.telemetry.attributes import is_a_call
from costguard.telemetry.forks import in_child
from costguard.telemetry.heavy import OTHER, HeavyHitters
from costguard.telemetry.later import Later
from costguard.telemetry.looker import Looker
from costguard.telemetry.named import Names
from costguard.telemetry.tokens import KINDS, tokens_of
from costguard.telemetry.watched import Watched, waiting_of

_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160)
_USD = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10)

MOST_VALUES = 100
"""Values of each label with series of their own: names of models may come from users."""

_MOST_SERIES = 2000
"""Sets of labels, of all their values together; calls of further ones are counted as `other` of each."""


class Prometheus:
    """A hook that counts calls for Prometheus: `Guard(..., hooks=[Prometheus()])`. See `scrape.metrics_app`.

    registry: of prometheus_client, its default one if not given
    payers:   tags whose dearest values get a series of cost each, for example ("user", "team")
    most:     values of each such tag with a series of their own, in each process; all others are `other`
    by:       tags that are labels of every series; only such with few values, as each makes new series

    Set PROMETHEUS_MULTIPROC_DIR before the start where several processes serve one app, as prometheus_client asks.

    Raises MissingExtra without prometheus-client, ConfigError for wrong settings.
    """

    def __init__(
        self,
        registry: Any = None,
        *,
        payers: Sequence[str] = ("user",),
        most: int = 20,
        by: Sequence[str] = ("feature", "environment"),
    ) -> None:
        try:
            import prometheus_client as client
        except ImportError:
            raise MissingExtra("prometheus-client", "prometheus", "Prometheus()") from None
        if isinstance(payers, str) or isinstance(by, str):
            raise ConfigError("payers= and by= are sequences of tag names, such as ('user',)")
        if most < 1:
            raise ConfigError(f"most={most!r} is no number of payers; give 1 or more")
        taken = sorted({"provider", "model", "status", "kind"}.intersection(by))
        if taken:
            raise ConfigError(f"by= names {', '.join(taken)}, which are labels of their own; leave them out")
        self.registry = client.REGISTRY if registry is None else registry
        self._by = tuple(by)
        self._heavy = {tag: HeavyHitters(most, first=most // 4) for tag in payers}
        self._few = {
            name: HeavyHitters(MOST_VALUES, first=MOST_VALUES // 2) for name in ("provider", "model", *self._by)
        }
        self._known: dict[tuple[str, ...], _Series] = {}
        # Rules may be for one user: who is no label is in none of theirs either.
        self._names = Names(None if "user" in (*payers, *by) else lambda _: None)
        self.guards: WeakSet[Watched] = WeakSet()
        self._pending = Later(self._count)
        # Other processes read what this one has written, at any time: there nothing can wait for a scrape.
        self._shared = "PROMETHEUS_MULTIPROC_DIR" in os.environ
        first = _First(self._refresh)
        if not self._shared:
            # The registry collects in the order in which collectors came: this one first.
            self.registry.register(first)
        self._ended = self._count if self._shared else self._pending.put
        labels = ("provider", "model", *self._by)

        def counter(name: str, text: str, *names: str) -> Any:
            return client.Counter(name, text, names, registry=self.registry)

        def histogram(name: str, text: str, buckets: Sequence[float]) -> Any:
            return client.Histogram(name, text, ("provider", "model"), buckets=buckets, registry=self.registry)

        try:
            self.cost = counter("costguard_cost_usd", "Cost of calls in USD", *labels)
        except ValueError as error:
            if not self._shared:
                self.registry.unregister(first)
            raise ConfigError(f"give the one Prometheus() of a registry to every guard: {error}") from None
        self.calls = counter("costguard_calls", "Calls that ended", *labels, "status")
        self.tokens = counter("costguard_tokens", "Tokens used", *labels, "kind")
        self.unpriced = counter("costguard_unpriced_calls", "Calls without a known price", *labels)
        self.estimated = counter("costguard_estimated_calls", "Calls whose usage was not reported", *labels)
        self.seconds = histogram("costguard_call_duration_seconds", "From the call to its last byte", _SECONDS)
        self.call_cost = histogram("costguard_call_cost_usd", "Cost of one call in USD", _USD)
        self._payer_cost = counter("costguard_payer_cost_usd", "Cost by payer in USD", "tag", "payer")
        self._payers: dict[tuple[str, str], Any] = {}
        self._refused = counter("costguard_refusals", "Calls that did not fit a budget", "budget", "busy", "observed")
        self._downgraded = counter("costguard_downgrades", "Calls made with another model", "asked", "model")
        self._gauges(client)
        self._looker = Looker(self) if self._shared else None
        if not self._shared:
            self._running.set_function(lambda: len(self._holds))
        self.forked()
        in_child(self)

    def _gauges(self, client: Any) -> None:
        def gauge(name: str, text: str) -> Any:
            return client.Gauge(name, text, registry=self.registry, multiprocess_mode="livesum")

        self._running = gauge("costguard_calls_running", "Calls now under way")
        self._held = gauge("costguard_held_usd", "Held for calls that are under way, in USD")
        self._waiting = gauge("costguard_entries_waiting", "Entries that the store does not have yet")
        self._journal = gauge("costguard_journal_bytes", "Size of what waits in the journals")

    def forked(self) -> None:
        """No call of this process is under way. What prometheus_client has counted stays, as it does by itself."""
        self._holds: dict[str, Call] = {}

    # --- what a guard calls ---

    def attached(self, guard: Watched) -> None:
        """A guard took this hook; what it can tell is asked at each scrape."""
        self.guards.add(guard)

    def began(self, call: Call) -> None:
        self._holds[call.id] = call
        if self._looker is not None:
            self._running.set(len(self._holds))
            self._looker.begin()

    def ended(self, call: Call) -> None:
        self._holds.pop(call.id, None)
        if self._looker is not None:
            self._running.set(len(self._holds))

    def __call__(self, event: Settled | Refused | Downgraded) -> None:
        if isinstance(event, Settled):
            if is_a_call(event.entry):
                self._ended(event.entry)
        elif isinstance(event, Refused):
            busy, observed = str(event.busy).lower(), str(event.observed).lower()
            self._refused.labels(self._names.of(event.standing.budget), busy, observed).inc()
        else:
            few = self._few["model"]
            self._downgraded.labels(few.name(event.asked, 0), few.name(event.model, 0)).inc()

    def look(self) -> None:
        """Read what waits in this process. With several of them each does by itself, every few seconds."""
        self._held.set(sum(call.hold.amount for call in list(self._holds.values()) if call.hold is not None) / 1e9)
        known = [at for guard in list(self.guards) if (at := waiting_of(guard, here=True)) is not None]
        if known:
            self._waiting.set(sum([at.entries_waiting for at in known]))
            self._journal.set(sum([at.journal_bytes for at in known]))

    def _refresh(self) -> None:
        self._pending.all()
        self.look()

    # --- one call ---

    def _count(self, entry: Entry) -> None:
        nanos = max(0, entry.nanos or 0)
        tags = entry.tags
        few = self._few
        key = (
            few["provider"].name(entry.provider, nanos), few["model"].name(entry.model, nanos),
            *[few[tag].name(tags.value(tag), nanos) for tag in self._by],
        )  # fmt: skip
        series = self._known.get(key)
        if series is None and len(self._known) >= _MOST_SERIES:
            key = tuple([OTHER] * len(key))
            series = self._known.get(key)
        if series is None:
            # Bounded, as each of its parts is. Two threads may make the same: the counters below are one.
            series = self._known[key] = _Series(self, key)
        series.add(entry)
        if not nanos:
            return
        cost = nanos / 1e9
        for tag, heavy in self._heavy.items():
            value = tags.value(tag)
            payer = (tag, value if value == UNATTRIBUTED else heavy.name(value, nanos))
            counter = self._payers.get(payer)
            if counter is None:
                counter = self._payers[payer] = self._payer_cost.labels(*payer)
            counter.inc(cost)


class _Series:
    """The counters of one set of labels: to find them costs more than to count."""

    def __init__(self, told: Prometheus, key: tuple[str, ...]) -> None:
        self._told, self._key = told, key
        self._cost = told.cost.labels(*key)
        self._seconds = told.seconds.labels(*key[:2])
        self._call_cost = told.call_cost.labels(*key[:2])
        self._calls: dict[str, Any] = {}
        self._tokens: dict[str, Any] = {}

    def add(self, entry: Entry) -> None:
        cost = None if entry.nanos is None else max(0, entry.nanos) / 1e9
        if entry.attempts:
            # What is billed beside a call, at another model's price, is no call of its own.
            status = entry.status
            calls = self._calls.get(status)
            if calls is None:
                calls = self._calls[status] = self._told.calls.labels(*self._key, status)
            calls.inc()
            self._seconds.observe(entry.duration_ns / 1e9)
            if cost is not None:
                self._call_cost.observe(cost)
        if cost is None:
            self._told.unpriced.labels(*self._key).inc()
        else:
            self._cost.inc(cost)
        if entry.estimated:
            self._told.estimated.labels(*self._key).inc()
        for kind, count in zip(KINDS, tokens_of(entry.usage), strict=True):
            if count:
                tokens = self._tokens.get(kind)
                if tokens is None:
                    tokens = self._tokens[kind] = self._told.tokens.labels(*self._key, kind)
                tokens.inc(count)


class _First:
    """A collector without metrics of its own: has everything counted before the others are read."""

    def __init__(self, refresh: Callable[[], None]) -> None:
        self._refresh = refresh

    def describe(self) -> Iterable[Any]:
        return ()

    def collect(self) -> Iterable[Any]:
        self._refresh()
        return ()
