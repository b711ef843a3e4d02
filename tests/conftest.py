"""What holds for all tests."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

# No test speaks TLS, but each client of an SDK reads the authorities it would trust: a machine's hundred and fifty take
# fifty times as long as this one.
os.environ["SSL_CERT_FILE"] = str(HERE / "authority.pem")

# A disk that is waited for is for power cuts, which no test makes. Each test of PostgreSQL has a database of 9 MB.
MEMORY = Path("/dev/shm")
ROOM = 8 << 30


def has_room(folder: Path) -> bool:
    """Also to run programs from; in containers there often is neither. What is in it takes memory."""
    if not os.access(folder, os.W_OK) or os.statvfs(folder).f_flag & os.ST_NOEXEC:
        return False
    allowed = Path("/sys/fs/cgroup/memory.max")
    limit = allowed.read_text().strip() if allowed.exists() else "max"
    if limit.isdecimal() and int(limit) < 2 * ROOM:
        return False
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(shutil.disk_usage(folder).free, available) >= ROOM


if "TMPDIR" not in os.environ and has_room(MEMORY):
    os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp(prefix="costguard-", dir=MEMORY)
    # For root PostgreSQL runs as another user.
    Path(tempfile.tempdir).chmod(0o755)
    # The workers of xdist have theirs in it; what is killed leaves its files behind.
    atexit.register(shutil.rmtree, tempfile.tempdir, ignore_errors=True)

LONGEST = (
    "enforcement/test_budget.py", "providers/test_matrix.py", "interop/test_entry_points.py",
    "ledger/test_leases_processes.py", "telemetry/test_beside.py", "providers/test_exchanges.py",
    "enforcement/test_kills.py", "interop/test_frameworks.py", "interop/test_litellm.py",
    "interop/test_instrumentors.py", "enforcement/test_proof.py", "enforcement/test_network.py",
    "pricing/test_crosscheck.py", "test_docs.py", "telemetry/test_proofs.py", "browser/test_browser_actions.py",
    "browser/test_browser_pages.py", "browser/test_browser_axe.py", "browser/test_browser_hostile.py",
    "test_demo.py",
)  # fmt: skip
"""Files that take minutes: begun first, as workers share the tests by files and the last one is waited for."""

ALIKE = (
    "alerts/", "dashboard/", "ledger/", "pricing/", "reports/", "test_budget_source.py", "test_cli", "test_demo.py",
    "test_doctor.py", "test_house.py",
)  # fmt: skip
"""Beginnings of the paths of tests that are `long` as a whole: about rules, databases, pages and arithmetic, more than
about the Python that runs them. What patches, forks, threads, ends and collects is run by all."""


def is_alike(path: Path) -> bool:
    return path.is_relative_to(HERE) and path.relative_to(HERE).as_posix().startswith(ALIKE)


def pytest_collection_modifyitems(items: list[Any]) -> None:
    def turn(item: Any) -> int:
        return next((place for place, name in enumerate(LONGEST) if item.path.as_posix().endswith(name)), len(LONGEST))

    items.sort(key=turn)
    for item in items:
        if is_alike(item.path):
            item.add_marker("long")


def pytest_ignore_collect(collection_path: Path, config: Any) -> bool | None:
    # What would be deselected as a whole need not be imported first.
    unwanted = config.getoption("markexpr") == "not long" and is_alike(collection_path)
    return True if unwanted else None


def pytest_collection_finish() -> None:
    # Each SDK is imported by now: the garbage collector need not look through them again and again.
    gc.collect()
    gc.freeze()


try:
    from hypothesis import settings
except ImportError:
    pass  # the environments of older SDKs run the contract alone
else:
    # An example takes as long as a busy machine lets it.
    settings.register_profile("unhurried", parent=settings.default, deadline=None)
    settings.load_profile("unhurried")
