"""What holds for all tests."""

from __future__ import annotations

try:
    from hypothesis import settings
except ImportError:
    pass  # the environments of older SDKs run the contract alone
else:
    # An example takes as long as a busy machine lets it.
    settings.register_profile("unhurried", parent=settings.default, deadline=None)
    settings.load_profile("unhurried")
