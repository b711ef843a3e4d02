"""What holds for all tests."""

from __future__ import annotations

from typing import Any

LONGEST = (
    "providers/test_matrix.py", "interop/test_litellm.py", "interop/test_frameworks.py",
    "interop/test_instrumentors.py", "enforcement/test_kills.py", "enforcement/test_proof.py",
    "enforcement/test_network.py", "pricing/test_crosscheck.py", "providers/test_exchanges.py", "test_docs.py",
)  # fmt: skip
"""Files that take minutes: begun first, as workers share the tests by files and the last one is waited for."""


def pytest_collection_modifyitems(items: list[Any]) -> None:
    def turn(item: Any) -> int:
        return next((place for place, name in enumerate(LONGEST) if item.path.as_posix().endswith(name)), len(LONGEST))

    items.sort(key=turn)


try:
    from hypothesis import settings
except ImportError:
    pass  # the environments of older SDKs run the contract alone
else:
    # An example takes as long as a busy machine lets it.
    settings.register_profile("unhurried", parent=settings.default, deadline=None)
    settings.load_profile("unhurried")
