"""LiteLLM, and what rides on the openai version that it wants. The tests themselves are in the files named here."""

from __future__ import annotations

import pytest

from tests.interop.environment import run_in

pytestmark = [pytest.mark.long, pytest.mark.timeout(330)]


@pytest.mark.parametrize("framework", ["litellm", "llama_index"])
def test_it_is_counted_once_and_refused_once(framework: str) -> None:
    run_in("litellm", f"with_{framework}.py")
