"""What holds for all tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

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


def pytest_collection_modifyitems(items: list[Any]) -> None:
    def turn(item: Any) -> int:
        return next((place for place, name in enumerate(LONGEST) if item.path.as_posix().endswith(name)), len(LONGEST))

    items.sort(key=turn)
    for item in items:
        if item.path.is_relative_to(HERE) and item.path.relative_to(HERE).as_posix().startswith(ALIKE):
            item.add_marker("long")


try:
    from hypothesis import settings
except ImportError:
    pass  # the environments of older SDKs run the contract alone
else:
    # An example takes as long as a busy machine lets it.
    settings.register_profile("unhurried", parent=settings.default, deadline=None)
    settings.load_profile("unhurried")
