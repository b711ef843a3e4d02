"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# An example takes as long as a busy machine lets it.
settings.register_profile("unhurried", parent=settings.default, deadline=None)
settings.load_profile("unhurried")
