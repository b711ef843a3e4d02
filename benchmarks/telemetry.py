"""What telemetry and alerts add to one call: `python -m benchmarks.telemetry [--rounds 40]`.

CPU of the calling thread for `client.chat.completions.create(...)` with everything below the SDK's public method
stubbed, each way of telling against the same guard without any, in turns of one process. Dead endpoints are ports of
this machine where nobody listens: what is sent to them is sent from other threads.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import openai

from benchmarks import workloads
from benchmarks.tables import Column, show
from benchmarks.timing import figures, machine, percentile, save
from costguard import Guard, bind_tags, slack
from costguard.telemetry.otel import OpenTelemetry
from costguard.telemetry.prometheus import Prometheus

# Short batches, of which some fall into the quiet moments of a busy machine.
CALLS = 40
DEAD = "http://127.0.0.1:9"
TARGET = 30.0
BUDGETS = ["$1000000/day per user", "$1000000/month"]

COLUMNS: tuple[Column, ...] = (
    ("telemetry", "name"),
    ("call us", "call_us"),
    ("added us", "added_us"),
    ("p20", "p20_us"),
    ("paired", "paired_us"),
    ("wall added us", "wall_us"),
    ("target", "target_us"),
)


def providers(*, dead: bool) -> tuple[Any, Any]:
    """OpenTelemetry's SDK without an exporter, or with its usual ones to nobody."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider

    tracers = TracerProvider()
    if not dead:
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader

        reader: Any = InMemoryMetricReader()
        _readers.append(reader)
        return tracers, MeterProvider(metric_readers=[reader])
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{DEAD}/v1/traces", timeout=1)))
    reader = PeriodicExportingMetricReader(OTLPMetricExporter(f"{DEAD}/v1/metrics", timeout=1), 1000)
    return tracers, MeterProvider(metric_readers=[reader])


_readers: list[Any] = []
"""Of those without an exporter: collected between two turns, as one would every minute."""


def otel(*, dead: bool = False) -> OpenTelemetry:
    tracers, meters = providers(dead=dead)
    return OpenTelemetry(tracer_provider=tracers, meter_provider=meters)


def prometheus() -> Prometheus:
    from prometheus_client import CollectorRegistry

    return Prometheus(CollectorRegistry())


def quiet(_alert: Any) -> None:
    """A channel that takes everything."""


WAYS: dict[str, Callable[[], dict[str, Any]]] = {
    "none": dict,
    "alerts": lambda: {"alerts": [quiet]},
    "OpenTelemetry API alone, alerts": lambda: {"alerts": [quiet], "hooks": [OpenTelemetry()]},
    "OpenTelemetry SDK without exporter, alerts": lambda: {"alerts": [quiet], "hooks": [otel()]},
    "Prometheus, alerts": lambda: {"alerts": [quiet], "hooks": [prometheus()]},
    "SDK without exporter, Prometheus, alerts": lambda: {"alerts": [quiet], "hooks": [otel(), prometheus()]},
    "SDK to a dead OTLP endpoint, dead Slack": lambda: {
        "alerts": [slack(f"{DEAD}/hook")], "hooks": [otel(dead=True)],
    },
}  # fmt: skip
TARGETS = {name: TARGET for name in WAYS if "without exporter" in name or name.startswith(("Prometheus", "alerts"))}


@contextmanager
def guards(names: list[str]) -> Iterator[dict[str, Guard]]:
    with ExitStack() as stack:
        made = {}
        for name in names:
            guard = Guard("memory://", budgets=BUDGETS, **WAYS[name]())
            stack.callback(guard.ledger.close)
            made[name] = guard
        yield made
        for guard in made.values():
            guard.uninstrument()


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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    facts = machine()
    print(f"Python {facts['python']}, {facts['cpus']} CPUs, load {facts['load']}")
    measured = run(parser.parse_args().rounds)
    report(measured)
    print(f"written to benchmarks/results/{save('telemetry', measured).name}")
