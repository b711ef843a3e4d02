"""The example apps as processes of their own, on real servers: uvicorn and waitress."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

import httpx

ROOT = Path(__file__).parents[1]
START_SECONDS = 120


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def commands(fastapi_port: int, flask_port: int) -> list[list[str]]:
    fastapi = ["uvicorn", "--factory", "examples.fastapi_app.app:create_app", "--port", str(fastapi_port)]
    flask = ["waitress", "--call", f"--listen=127.0.0.1:{flask_port}", "examples.flask_app.app:create_app"]
    return [[sys.executable, "-m", *fastapi, "--log-level", "warning"], [sys.executable, "-m", *flask]]


@contextmanager
def both_apps(environment: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Start both apps, wait until they answer, give their addresses by name, and stop them.

    Raises RuntimeError, with what the server printed, if one does not come up.
    """
    ports = {"fastapi": free_port(), "flask": free_port()}
    urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    env = {**os.environ, **environment, "PYTHONPATH": path}
    running: list[subprocess.Popen[bytes]] = []
    with TemporaryFile() as output:
        try:
            for command in commands(ports["fastapi"], ports["flask"]):
                process = subprocess.Popen(command, env=env, stdout=output, stderr=output)
                running.append(process)  # one by one: if the second cannot start, the first is still stopped
            for url, process in zip(urls.values(), running, strict=True):
                if not _answers(url, process):
                    output.seek(0)
                    said = output.read().decode(errors="replace")
                    raise RuntimeError(f"{' '.join(map(str, process.args))} did not come up:\n{said}")  # type: ignore[arg-type]
            yield urls
        finally:
            for process in running:
                process.terminate()
            for process in running:
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/health", trust_env=False).status_code == 200:
                return True
        except httpx.TransportError:
            time.sleep(0.1)
    return False
