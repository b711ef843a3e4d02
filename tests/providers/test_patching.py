"""SDKs that are imported after `install`, and what is left after `uninstall`. Each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(script: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", ["openai", "anthropic"])
def test_an_sdk_that_is_imported_later_is_patched_then(package: str) -> None:
    run(f"""
import sys
from costguard.providers.instrument import install, patched, uninstall
from tests.providers.recording import Recording
policy = Recording()
install(policy)
assert {package!r} not in sys.modules, "installing must not import an SDK"
assert {package!r} in patched()
import {package}._base_client as seam
assert seam.SyncAPIClient.request.__wrapped__
assert seam.__spec__.loader is seam.__loader__
assert type(seam.__loader__).__module__.startswith("_frozen"), seam.__loader__
uninstall(policy)
assert not hasattr(vars(seam.SyncAPIClient)["request"], "__wrapped__")
assert not hasattr(vars(seam.BaseClient)["_build_request"], "__wrapped__")
assert [finder for finder in sys.meta_path if type(finder).__module__.startswith("costguard")] == []
""")


def test_undoing_before_the_import_leaves_it_alone() -> None:
    run("""
from costguard.providers.instrument import install, uninstall
from tests.providers.recording import Recording
policy = Recording()
install(policy)
uninstall(policy)
import openai._base_client as seam
assert not hasattr(vars(seam.AsyncAPIClient)["request"], "__wrapped__")
""")


def test_instrumenting_loads_nothing_heavy() -> None:
    run("""
import sys
from costguard.providers.instrument import install
from tests.providers.recording import Recording
install(Recording())
heavy = {"pydantic", "sqlalchemy", "sqlmodel", "httpx", "httpx2", "openai", "anthropic", "genai_prices"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
""")


def test_a_forked_worker_is_not_stuck_by_what_a_thread_was_remembering() -> None:
    run("""
import os, signal, threading
from costguard.call import Call
from costguard.providers import litellm_names, ordered
held, done = threading.Event(), threading.Event()
def remembering():
    with ordered._lock, litellm_names._lock:
        held.set()
        done.wait()
threading.Thread(target=remembering, daemon=True).start()
assert held.wait(10)
child = os.fork()
if child == 0:
    signal.alarm(20)
    ordered.remember(Call("openai", "gpt-4o"), "resp_1")
    litellm_names.named(None, {"model": "openai/gpt-4o"})[1]("openai", "gpt-4o")
    os._exit(0)
status = os.waitpid(child, 0)[1]
done.set()
assert status == 0, status
""")


def test_a_forked_worker_tells_of_dropped_streams() -> None:
    run("""
import os
from costguard.providers import collected
collected.watch()
child = os.fork()
if child == 0:
    collected.watch()
    told = []
    collected._dropped.put(lambda: told.append(1))
    ok = collected.drain(10) and told == [1]
    os._exit(0 if ok else 1)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0
""")
