"""Prometheus itself scrapes a running app: `python -m tests.telemetry.prometheus_proof`.

It needs `prometheus` and `promtool` (Debian: apt-get install prometheus). The rules are checked by promtool, and
loaded; every query of the dashboard is asked. What it prints is kept in docs/prometheus.md.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import openai
from examples.provider import Provider
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from costguard import BudgetExceeded, Guard, tagged
from costguard.telemetry.files import DASHBOARD, RULES
from costguard.telemetry.prometheus import Prometheus
from costguard.telemetry.scrape import metrics_app
from tests.telemetry.queries import panel_queries, rule_queries
from tests.web.conftest import asgi_server

SECONDS = 25.0
PATIENCE = 60.0
CONFIG = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: app
    static_configs: [{{targets: ["{target}"]}}]
"""


def main(seconds: float = SECONDS) -> int:
    missing = [name for name in ("prometheus", "promtool") if shutil.which(name) is None]
    if missing:
        print(f"{', '.join(missing)} is not installed (Debian: apt-get install prometheus)")
        return 2
    print(subprocess.run(["prometheus", "--version"], capture_output=True, text=True, check=True).stdout.split("(")[0])
    checked = subprocess.run(["promtool", "check", "rules", RULES], capture_output=True, text=True, check=False)
    said = [
        line.strip() for line in f"{checked.stdout}{checked.stderr}".splitlines() if "rules" in line and "/" not in line
    ]
    print(f"promtool check rules: {' '.join(said) or checked.stderr}")
    told = Prometheus(CollectorRegistry())
    budgets = ["$500/month", "$0.0001/day where feature=broke"]
    with Provider() as provider, Guard("memory://", budgets=budgets, alerts=[str], hooks=[told], wait=0) as guard:
        app = FastAPI()
        app.mount("/metrics", metrics_app(told))
        guard.instrument()
        with asgi_server(app) as target, tempfile.TemporaryDirectory() as folder:
            return prove(Path(folder), target, provider, seconds) or checked.returncode


def prove(folder: Path, target: str, provider: Provider, seconds: float) -> int:
    (folder / "prometheus.yml").write_text(CONFIG.format(rules=RULES, target=target), "utf-8")
    address = f"127.0.0.1:{free_port()}"
    command = [
        "prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}", "--log.level=error",
    ]  # fmt: skip
    server = subprocess.Popen(command)
    try:
        made, over = [0], threading.Event()
        calling = threading.Thread(target=run_calls, args=(provider, made, over))
        calling.start()
        try:
            over.wait(seconds)
            with httpx.Client(base_url=f"http://{address}/api/v1", timeout=10) as api:
                await_data(api)
                return ask(api, made[0])
        finally:
            over.set()
            calling.join(30)
    finally:
        server.terminate()
        server.wait(20)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def run_calls(provider: Provider, made: list[int], over: threading.Event) -> None:
    """Calls of some kinds until it is over; counts those that were made."""
    with openai.OpenAI(api_key="local", base_url=provider.openai_url, max_retries=0) as client:
        while not over.wait(0.3):
            for number, feature in enumerate(("chat", "search", "broke")):
                for model in ("gpt-4o", "gpt-4o-mini", "nobody-knows-it"):
                    ask = {"model": model, "messages": [{"role": "user", "content": f"Hello {made}"}]}
                    with tagged(user=f"user-{number}", feature=feature):
                        try:
                            client.chat.completions.create(**ask)
                            made[0] += 1
                        except BudgetExceeded:
                            continue


def await_data(api: httpx.Client) -> None:
    """A rate needs two scrapes at least, and the server some time to start."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            rates = [text for title, text in panel_queries(DASHBOARD) if "rate(" in text or "increase(" in text]
            if all(query(api, text) for text in rates):
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)


def query(api: httpx.Client, text: str) -> list[Any]:
    response = api.get("/query", params={"query": text})
    if response.status_code == 503:
        return []  # it is still starting
    answer = response.json()
    if answer["status"] != "success":
        raise SystemExit(f"{text}: {json.dumps(answer)}")
    result: list[Any] = answer["data"]["result"]
    return result


def ask(api: httpx.Client, calls: int) -> int:
    (up,) = query(api, "up")
    (counted,) = query(api, "sum(costguard_calls_total)")
    print(f"up: {up['value'][1]}; calls made: {calls}; counted by the last scrape: {counted['value'][1]}\n")
    print(f"{'panel':<40} series  first value")
    empty = 0
    for title, text in panel_queries(DASHBOARD):
        found = [each for each in query(api, text) if each["value"][1] != "NaN"]
        empty += not found
        value = f"{float(found[0]['value'][1]):.6g}" if found else "no data"
        print(f"{title:<40} {len(found):>6}  {value}")
    (group,) = api.get("/rules").json()["data"]["groups"]
    print(f"\n{'rule':<40} health  state")
    for rule in group["rules"]:
        empty += rule["health"] != "ok"
        print(f"{rule['name']:<40} {rule['health']:<7} {rule['state']}")
    empty += len(group["rules"]) != len(rule_queries(RULES))
    print(f"\n{'all panels have data, all rules are evaluated' if not empty else f'{empty} without data'}")
    return 1 if empty else 0


if __name__ == "__main__":
    sys.exit(main())
