"""`/metrics`: what Prometheus reads, as an ASGI or a WSGI app to mount."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

from costguard.telemetry.prometheus import Prometheus
from costguard.telemetry.watched import shared_standings, waiting_of

_Message = MutableMapping[str, Any]


class Standings:
    """A collector of what is asked at each scrape and is the same for all processes: shared budgets, alerts."""

    def __init__(self, prometheus: Prometheus) -> None:
        self._prometheus = prometheus

    def describe(self) -> list[Any]:
        return []

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import GaugeMetricFamily

        found = shared_standings(self._prometheus.guard)
        for name, text in (
            ("limit", "Limit of a budget, in its unit"), ("spent", "Spent of a budget, in its unit"),
            ("held", "Held of a budget for running calls, in its unit"),
        ):  # fmt: skip
            family = GaugeMetricFamily(f"costguard_budget_{name}", text, labels=("budget", "unit"))
            for standing in found:
                family.add_metric((str(standing.budget), standing.unit), float(getattr(standing, name)))
            yield family
        waiting = waiting_of(self._prometheus.guard)
        if waiting is not None:
            yield GaugeMetricFamily(
                "costguard_alerts_undelivered", "Alerts that no channel has taken yet", value=waiting.alerts_undelivered
            )


def scraped(prometheus: Prometheus) -> Any:
    """The registry that a scrape reads: of this process, or with PROMETHEUS_MULTIPROC_DIR of all of them."""
    import prometheus_client as client

    class All:
        def describe(self) -> list[Any]:
            return []

        def collect(self) -> Iterator[Any]:
            prometheus.look()
            if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
                from prometheus_client import multiprocess

                shared = client.CollectorRegistry()
                multiprocess.MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
                yield from shared.collect()
            else:
                yield from prometheus.registry.collect()
            yield from Standings(prometheus).collect()

    registry = client.CollectorRegistry()
    registry.register(All())
    return registry


def metrics_app(prometheus: Prometheus) -> Callable[..., Awaitable[None]]:
    """An ASGI app to mount: `app.mount("/metrics", metrics_app(prometheus))`.

    It tells what your users cost: let nobody but Prometheus come to it. The store is read in a thread.
    """
    from prometheus_client.exposition import choose_encoder

    registry = scraped(prometheus)

    async def app(scope: _Message, _receive: Any, send: Callable[[_Message], Awaitable[None]]) -> None:
        if scope["type"] != "http":
            return
        accept = b",".join(value for name, value in scope["headers"] if name.lower() == b"accept").decode("latin-1")
        encode, kind = choose_encoder(accept)
        body = await asyncio.to_thread(encode, registry)
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def metrics_wsgi_app(prometheus: Prometheus) -> Any:
    """The same for WSGI, to dispatch to: `DispatcherMiddleware(app, {"/metrics": metrics_wsgi_app(prometheus)})`."""
    from prometheus_client import make_wsgi_app

    return make_wsgi_app(scraped(prometheus))
