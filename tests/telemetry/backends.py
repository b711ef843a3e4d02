"""Arize Phoenix shows what calls cost: `.matrix/3.11/phoenix/bin/python -m tests.telemetry.backends`.

OpenLIT wants openai 2, so that it has an environment of its own, whose interpreter OPENLIT_PYTHON names; both are in
tests/matrix.txt.

Each way runs in a process of its own, against one Phoenix: costguard alone, with OpenInference, with OpenLIT. Calls are
plain and streamed. Then Phoenix is asked for its spans. What it prints is kept in docs/opentelemetry.md.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from examples.provider import Provider


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


PORT = os.environ.get("PHOENIX_PORT") or str(free_port())
URL = f"http://127.0.0.1:{PORT}"
WAYS = ("alone", "openinference before", "openinference after", "openlit before", "openlit after")
NAMES = ("gen_ai.usage.cost", "operation.cost", "llm.cost.total")
COST = 0.11


def a_tenth(_body: dict[str, Any]) -> tuple[int, int, str]:
    return 12_000, 8_000, "An answer."


def main() -> int:
    if sys.argv[1:]:
        return one_way(sys.argv[1])
    others = {"openlit": os.environ.get("OPENLIT_PYTHON", sys.executable)}
    with tempfile.TemporaryDirectory() as folder, Provider(reply=a_tenth) as provider:
        environ = {
            **os.environ, "PHOENIX_WORKING_DIR": folder, "PHOENIX_PORT": PORT, "PHOENIX_GRPC_PORT": str(free_port()),
            "PHOENIX_HOST": "127.0.0.1", "PHOENIX_TELEMETRY_ENABLED": "false",
            "OPENAI_BASE_URL": provider.openai_url, "OPENAI_API_KEY": "local",
        }  # fmt: skip
        command = [sys.executable, "-m", "phoenix.server.main", "serve"]
        with open(os.path.join(folder, "log"), "wb") as log:
            phoenix = subprocess.Popen(command, env=environ, stdout=log, stderr=log)
            try:
                await_phoenix(phoenix, os.path.join(folder, "log"))
                for way in WAYS:
                    python = others.get(way.split()[0], sys.executable)
                    subprocess.run(
                        [python, "-m", "tests.telemetry.backends", way],
                        env=environ,
                        stdout=subprocess.DEVNULL,
                        check=True,
                    )
                return show()
            finally:
                phoenix.terminate()
                phoenix.wait(30)


def await_phoenix(process: Any, log: str) -> None:
    until = time.monotonic() + 180
    while time.monotonic() < until and process.poll() is None:
        try:
            urlopen(f"{URL}/healthz", timeout=2).read()
        except (URLError, OSError):
            time.sleep(0.5)
        else:
            return
    with open(log, encoding="utf-8", errors="replace") as file:
        raise SystemExit(f"Phoenix does not answer:\n{file.read()[-2000:]}")


def one_way(way: str) -> int:
    """Two calls, told to Phoenix under a project of this name."""
    from openai import OpenAI
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    from costguard import Guard, tagged
    from costguard.telemetry.otel import OpenTelemetry

    provider = TracerProvider(resource=Resource.create({"openinference.project.name": way}))
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{URL}/v1/traces")))
    trace.set_tracer_provider(provider)
    tool, _, order = way.partition(" ")
    guard = Guard("memory://", hooks=[OpenTelemetry(openinference=True, metrics=False)])
    if order == "after":
        guard.instrument()
    if tool == "openinference":
        from openinference.instrumentation.openai import OpenAIInstrumentor

        OpenAIInstrumentor().instrument(tracer_provider=provider)
    elif tool == "openlit":
        import openlit

        with tempfile.NamedTemporaryFile("w", suffix=".json") as prices:
            # Else it fetches its prices from the network.
            prices.write(json.dumps({"chat": {"gpt-4o": {"promptPrice": 0.005, "completionPrice": 0.015}}}))
            prices.flush()
            openlit.init(pricing_json=prices.name, disable_metrics=True)
    guard.instrument()
    ask: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
    with guard, OpenAI(max_retries=0) as client, tagged(user="alice", feature="chat"):
        client.chat.completions.create(**ask)
        list(client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
        entries = guard.entries()
        if [float(entry.cost or 0) for entry in entries] != [COST, COST]:
            raise SystemExit(f"{way}: the ledger has {entries}")
    provider.force_flush()
    return 0


def get(path: str) -> Any:
    with urlopen(Request(f"{URL}{path}"), timeout=20) as answer:
        return json.load(answer)["data"]


def show() -> int:
    from importlib.metadata import version

    print(f"Phoenix {version('arize-phoenix')}; two calls each way, $0.11 each in the ledger")
    print(f"{'way':<22} {'spans':>5} {'LLM':>4} {'tokens':>7} {'its own':>8}  spans with a cost, and their sum")
    wrong = 0
    for way in WAYS:
        spans: list[Any] = []
        until = time.monotonic() + 30
        while len(spans) < 2 and time.monotonic() < until:
            try:
                spans = get(f"/v1/projects/{way.replace(' ', '%20')}/spans?limit=100")
            except URLError:
                time.sleep(0.5)
        costs = {name: [flat(span).get(name) for span in spans if flat(span).get(name) is not None] for name in NAMES}
        llm = [span for span in spans if span["span_kind"] == "LLM" or "chat" in span["name"].lower()]
        tokens = sum(
            int(flat(span).get("llm.token_count.prompt") or 0) + int(flat(span).get("llm.token_count.completion") or 0)
            for span in spans
        )
        shown = ", ".join(f"{name} {len(found)} ${sum(found):.2f}" for name, found in costs.items())
        right = all(found == [COST, COST] for found in costs.values()) and len(llm) == 2
        own = shown_cost(way)
        right = right and own == 2 * COST
        wrong += not right
        print(f"{way:<22} {len(spans):>5} {len(llm):>4} {tokens:>7} {own:>8}  {shown}{'' if right else '  WRONG'}")
    return 1 if wrong else 0


def shown_cost(project: str) -> float:
    """What Phoenix shows as the cost of a project: it prices tokens by itself."""
    query = "{projects(first: 50) {edges {node {name costSummary {total {cost}}}}}}"
    until = time.monotonic() + 30
    while True:
        request = Request(f"{URL}/graphql", json.dumps({"query": query}).encode(), {"content-type": "application/json"})
        with urlopen(request, timeout=20) as answer:
            nodes = [edge["node"] for edge in json.load(answer)["data"]["projects"]["edges"]]
        # It prices spans some seconds after it has them.
        cost = next((node["costSummary"]["total"]["cost"] for node in nodes if node["name"] == project), None)
        if (cost or 0) >= 2 * COST or time.monotonic() > until:
            return round(cost or 0, 6)
        time.sleep(1)


def flat(span: Any) -> dict[str, Any]:
    found: dict[str, Any] = span["attributes"]
    return found


if __name__ == "__main__":
    if find_spec("phoenix") is None and not sys.argv[1:]:
        raise SystemExit("arize-phoenix is not installed in this environment")
    sys.exit(main())
