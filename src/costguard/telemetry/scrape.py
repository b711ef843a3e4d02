"""`/metrics`: what Prometheus reads, as an ASGI or a WSGI app to mount."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from costguard.telemetry.forks import in_child
from costguard.telemetry.prometheus import Prometheus
from costguard.telemetry.watched import shared_standings, waiting_by_store

_Message = MutableMapping[str, Any]


class Standings:
    """A collector of what is asked at each scrape and is the same for all processes: shared budgets, alerts."""

    def __init__(self, prometheus: Prometheus) -> None:
        self._prometheus = prometheus

    def describe(self) -> list[Any]:
        return []

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import GaugeMetricFamily

        guards = list(self._prometheus.guards)
        found = {str(standing.budget): standing for guard in guards for standing in shared_standings(guard)}
        for name, text in (
            ("limit", "Limit of a budget, in its unit"), ("spent", "Spent of a budget, in its unit"),
            ("held", "Held of a budget for running calls, in its unit"),
        ):  # fmt: skip
            family = GaugeMetricFamily(f"costguard_budget_{name}", text, labels=("budget", "unit"))
            for budget, standing in found.items():
                family.add_metric((budget, standing.unit), float(getattr(standing, name)))
            yield family
        known = waiting_by_store(guards)
        if not known:
            return
        left = sum([at.alerts_undelivered for at in known])
        yield GaugeMetricFamily("costguard_alerts_undelivered", "Alerts that no channel has taken yet", value=left)
        # No counter: an alert that was given up may be told after all.
        alerts = GaugeMetricFamily("costguard_alerts", "Alerts in the store by outcome", labels=("outcome",))
        for outcome in sorted({outcome for at in known for outcome in at.alerts}):
            alerts.add_metric((outcome,), sum([at.alerts.get(outcome, 0) for at in known]))
        yield alerts


_GAUGES = re.compile(r"gauge_live\w+_(?P<pid>\d+)\.db")


def forget_dead(directory: str) -> None:
    """Drop the gauges of processes that are no more. Only gunicorn can be asked to say which of its workers ended."""
    if os.name != "posix":  # elsewhere to ask for a process may end it
        return
    from prometheus_client import multiprocess

    for pid in {int(found["pid"]) for name in os.listdir(directory) if (found := _GAUGES.fullmatch(name))}:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            multiprocess.mark_process_dead(pid, directory)  # type: ignore[no-untyped-call]
        except OSError:
            continue


def scraped(prometheus: Prometheus) -> Any:
    """The registry that a scrape reads: of this process, or with PROMETHEUS_MULTIPROC_DIR of all of them."""
    import prometheus_client as client

    class All:
        def describe(self) -> list[Any]:
            return []

        def collect(self) -> Iterator[Any]:
            if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
                from prometheus_client import multiprocess

                prometheus.look()
                forget_dead(os.environ["PROMETHEUS_MULTIPROC_DIR"])
                shared = client.CollectorRegistry()
                multiprocess.MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
                yield from shared.collect()
            else:
                yield from prometheus.registry.collect()
            yield from Standings(prometheus).collect()

    registry = client.CollectorRegistry()
    registry.register(All())
    return registry


class _Threads:
    """Few, and none of the event loop's own: while a store keeps scrapes waiting, the app resolves names in those."""

    def __init__(self) -> None:
        self.forked()
        in_child(self)

    def forked(self) -> None:
        """The threads stayed with the parent."""
        self.pool = ThreadPoolExecutor(2, "costguard-scrape")


def metrics_app(prometheus: Prometheus) -> Callable[..., Awaitable[None]]:
    """An ASGI app to mount: `app.mount("/metrics", metrics_app(prometheus))`.

    It tells what your users cost: let nobody but Prometheus come to it. The store is read in a thread.
    """
    from prometheus_client.exposition import choose_encoder

    registry = scraped(prometheus)
    threads = _Threads()

    async def app(scope: _Message, _receive: Any, send: Callable[[_Message], Awaitable[None]]) -> None:
        if scope["type"] != "http":
            return
        accept = b",".join(value for name, value in scope["headers"] if name.lower() == b"accept").decode("latin-1")
        encode, kind = choose_encoder(accept)
        body = await asyncio.get_running_loop().run_in_executor(threads.pool, encode, registry)
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def metrics_wsgi_app(prometheus: Prometheus) -> Any:
    """The same for WSGI, to dispatch to: `DispatcherMiddleware(app, {"/metrics": metrics_wsgi_app(prometheus)})`."""
    from prometheus_client import make_wsgi_app

    return make_wsgi_app(scraped(prometheus))
