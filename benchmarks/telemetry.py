"""What telemetry and alerts add to one call: `python -m benchmarks telemetry`.

CPU of the calling thread for `client.chat.completions.create(...)` with everything below the SDK's public method
stubbed, each way of telling against the same guard without any, in turns of one process. A dead endpoint is a port of
this machine that takes a connection and never answers, which is worse than one that refuses: what is sent there is sent
from other threads. A dead Prometheus is one that never scrapes.
"""

from __future__ import annotations

import atexit
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import openai
from prometheus_client import generate_latest

from benchmarks import workloads
from benchmarks.tables import Column, show
from benchmarks.timing import figures, percentile
from costguard import CostGuardError, Guard, bind_tags, slack
from costguard.events import Settled
from costguard.telemetry.otel import OpenTelemetry
from costguard.telemetry.prometheus import Prometheus

# Short batches, of which some fall into the quiet moments of a busy machine.
CALLS = 40
TARGET = 30.0
# The second is crossed by the first calls, so that there is something to tell.
BUDGETS = ["$1000000/day per user", "$1000000/month alerts at 0.0000001%"]

_silent = socket.socket()
_silent.bind(("127.0.0.1", 0))
_silent.listen(128)
DEAD = f"http://127.0.0.1:{_silent.getsockname()[1]}"

LIVE = """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""
"""A collector that takes everything, in a process of its own."""

COLUMNS: tuple[Column, ...] = (
    ("telemetry", "name"),
    ("call us", "call_us"),
    ("added us", "added_us"),
    ("p20", "p20_us"),
    ("paired", "paired_us"),
    ("wall added us", "wall_us"),
    ("target", "target_us"),
)


def live() -> str:
    command = [sys.executable, "-c", LIVE]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    atexit.register(server.kill)
    assert server.stdout is not None
    return f"http://127.0.0.1:{server.stdout.readline().strip()}"


def providers(url: str = "") -> tuple[Any, Any]:
    """OpenTelemetry's SDK without an exporter, or with its usual ones to this address."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider

    tracers = TracerProvider()
    if not url:
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader

        reader: Any = InMemoryMetricReader()
        _readers.append(reader)
        return tracers, MeterProvider(metric_readers=[reader])
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{url}/v1/traces", timeout=1)))
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(f"{url}/v1/metrics", timeout=1), 1000)
    return tracers, MeterProvider(metric_readers=[reader])


_readers: list[Any] = []
"""Of those without an exporter: collected between two turns, as one would every minute."""


def otel(url: str = "") -> OpenTelemetry:
    tracers, meters = providers(url)
    return OpenTelemetry(tracer_provider=tracers, meter_provider=meters)


def prometheus(*, dead: bool = False) -> Prometheus:
    from prometheus_client import CollectorRegistry

    told = Prometheus(CollectorRegistry())
    if not dead:
        _registries.append(told.registry)
    return told


_registries: list[Any] = []
"""Those that are scraped between two turns."""


def quiet(_alert: Any) -> None:
    """A channel that takes everything."""


class Bare:
    """Makes nothing but a span, of the SDK itself, with as many attributes as one of costguard's has."""

    def __init__(self) -> None:
        self._tracer = providers()[0].get_tracer("bare")
        self._attributes = {f"gen_ai.usage.name_{number}": number if number % 2 else "text" for number in range(16)}

    def __call__(self, event: object) -> None:
        if isinstance(event, Settled):
            at = event.entry.at_ns
            self._tracer.start_span("chat gpt-4o", attributes=self._attributes, start_time=at).end(at + 1)


WAYS: dict[str, Callable[[], dict[str, Any]]] = {
    "none": dict,
    "alerts": lambda: {"alerts": [quiet]},
    "OpenTelemetry API alone": lambda: {"hooks": [OpenTelemetry()]},
    "Prometheus": lambda: {"hooks": [prometheus()]},
    "all three: API alone, Prometheus, alerts": lambda: {
        "alerts": [quiet], "hooks": [OpenTelemetry(), prometheus()],
    },
    "SDK's metrics, Prometheus, alerts": lambda: {
        "alerts": [quiet], "hooks": [OpenTelemetry(meter_provider=providers()[1], spans=False), prometheus()],
    },
    "a bare span of the SDK, no costguard": lambda: {"hooks": [Bare()]},
    "SDK records spans, no exporter": lambda: {"hooks": [otel()]},
    "SDK records spans, Prometheus, alerts": lambda: {"alerts": [quiet], "hooks": [otel(), prometheus()]},
    "the same, exporter, OTLP endpoint alive": lambda: {"alerts": [quiet], "hooks": [otel(live()), prometheus()]},
    "the same, exporter, OTLP endpoint dead": lambda: {"alerts": [quiet], "hooks": [otel(DEAD), prometheus()]},
    "the same, Slack dead": lambda: {"alerts": [slack(f"{DEAD}/hook")], "hooks": [otel(), prometheus()]},
    "the same, Prometheus dead": lambda: {"alerts": [quiet], "hooks": [otel(), prometheus(dead=True)]},
    "the same, all of them dead": lambda: {
        "alerts": [slack(f"{DEAD}/hook")], "hooks": [otel(DEAD), prometheus(dead=True)],
    },
}  # fmt: skip
TARGETS = dict.fromkeys(("alerts", "Prometheus", "OpenTelemetry API alone"), TARGET)
TARGETS |= {name: TARGET for name in WAYS if "API alone," in name or "SDK's metrics" in name}


@contextmanager
def guards(names: list[str]) -> Iterator[dict[str, Guard]]:
    with ExitStack() as stack:
        made = {}
        for name in names:
            guard = Guard("memory://", budgets=BUDGETS, **WAYS[name]())
            stack.callback(close, guard)
            made[name] = guard
        yield made


def close(guard: Guard) -> None:
    with suppress(CostGuardError):
        guard.close(0.5)


def run(rounds: int = 40, *, peers: bool = True, errors: bool = False) -> dict[str, Any]:
    """Microseconds per call of each way, and beyond the same round of the first."""
    del peers
    if not errors:
        logging.disable(logging.ERROR)
    workloads.stub("openai")
    bind_tags(user="alice", feature="chat", environment="production")
    client = openai.OpenAI(api_key="bench")
    ask, question = workloads.ask("openai", client), workloads.question("openai")
    cpu: dict[str, list[float]] = {name: [] for name in WAYS}
    wall: dict[str, list[float]] = {name: [] for name in WAYS}
    with guards(list(WAYS)) as made:
        for turn in range(rounds + 3):
            for name, guard in made.items():
                for reader in _readers:
                    reader.get_metrics_data()
                for registry in _registries:
                    generate_latest(registry)
                guard.instrument()
                repeat = workloads.repeat(ask, question)
                repeat(5)
                began, at = time.perf_counter_ns(), time.thread_time_ns()
                repeat(CALLS)
                if turn >= 3:
                    cpu[name].append((time.thread_time_ns() - at) / CALLS / 1000)
                    wall[name].append((time.perf_counter_ns() - began) / CALLS / 1000)
    base = percentile(cpu["none"], 0.2)
    rows = []
    for name in WAYS:
        paired = sorted(with_ - without for with_, without in zip(cpu[name], cpu["none"], strict=True))
        rows.append({
            "name": name,
            "call_us": round(min(cpu[name]), 1),
            "added_us": round(min(cpu[name]) - min(cpu["none"]), 1),
            "p20_us": round(percentile(cpu[name], 0.2) - base, 1),
            "paired_us": round(paired[len(paired) // 2], 1),
            "wall_us": round(percentile(wall[name], 0.2) - percentile(wall["none"], 0.2), 1),
            "target_us": TARGETS.get(name),
            "figures": figures(cpu[name]),
        })  # fmt: skip
    return {"rounds": rounds, "unit": "microseconds per call; CPU of the calling thread", "rows": rows}


def report(result: dict[str, Any]) -> None:
    show("Telemetry and alerts: added to one call, microseconds", COLUMNS, result["rows"])
