"""What holds for all tests."""

from __future__ import annotations

from typing import Any

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
    "test_demo.py", "test_house.py", "test_cli.py", "test_budget_source.py", "pricing/test_rates.py",
    "pricing/test_catalog.py", "ledger/test_invariants.py", "ledger/test_concurrency.py", "ledger/test_postgres.py",
    "ledger/test_leases.py", "ledger/test_valkey.py", "ledger/test_batches.py", "ledger/test_adjusting.py",
)  # fmt: skip
"""Files that are `long` as a whole: about databases, processes and arithmetic, more than about Python."""


def pytest_collection_modifyitems(items: list[Any]) -> None:
    def turn(item: Any) -> int:
        return next((place for place, name in enumerate(LONGEST) if item.path.as_posix().endswith(name)), len(LONGEST))

    items.sort(key=turn)
    for item in items:
        if item.path.as_posix().endswith(tuple([f"tests/{name}" for name in ALIKE])):
            item.add_marker("long")


try:
    from hypothesis import settings
except ImportError:
    pass  # the environments of older SDKs run the contract alone
else:
    # An example takes as long as a busy machine lets it.
    settings.register_profile("unhurried", parent=settings.default, deadline=None)
    settings.load_profile("unhurried")
