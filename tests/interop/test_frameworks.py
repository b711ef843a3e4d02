"""LLM frameworks over the instrumented SDKs: nothing twice, nothing missed, and a refusal is no reason to try again.

The tests themselves are in the files named here; each runs where its framework is installed.
"""

from __future__ import annotations

import pytest

from tests.interop.environment import run_in

pytestmark = [pytest.mark.long, pytest.mark.timeout(330)]

FRAMEWORKS = {
    "langchain": "frameworks",
    "langgraph": "frameworks",
    "instructor": "frameworks",
    "openai_agents": "frameworks",
    "pydantic_ai": "pydantic-ai",
}
"""Each with the environment it is installed in."""


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_framework_is_counted_once_and_refused_once(framework: str) -> None:
    run_in(FRAMEWORKS[framework], f"with_{framework}.py")
