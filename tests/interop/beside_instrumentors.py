"""costguard beside another instrumentor, installed before or after it.

Run in its own environment by test_instrumentors.py, one process for each tool and order, which the variable
COSTGUARD_BESIDE names ("logfire before"): some tools patch for the life of the process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from costguard import BudgetExceeded, Guard
from tests.interop.conftest import Books
from tests.interop.server import Server
from tests.interop.tools import TOOLS, Tool
from tests.interop.ways import WAYS, Way

NAME, ORDER = os.environ["COSTGUARD_BESIDE"].split()


@pytest.fixture(scope="module")
def first() -> Iterator[Guard]:
    """A guard that no test asks anything of: it keeps costguard's patches in place, below or above the tool's."""
    with Guard("memory://") as guard:
        yield guard


@pytest.fixture(scope="module", autouse=True)
def tool(first: Guard) -> Tool:
    tool: Tool = TOOLS[NAME]()
    if ORDER == "before":
        tool.install()
        first.instrument()
    else:
        first.instrument()
        tool.install()
    return tool


def got(way: Way, server: Server, tool: Tool) -> Any:
    """What the caller got, and what the tool saw."""
    with tool.watching() as seen:
        try:
            answer = way(server)
        except BudgetExceeded:
            raise
        except Exception as error:  # the tool's own: compared with what it raises alone
            answer = repr(error)
    return answer, seen


@pytest.mark.parametrize("way", WAYS)
def test_a_call_is_counted_once(way: str, server: Server, books: Books, tool: Tool) -> None:
    got(WAYS[way], server, tool)
    books.assert_one_entry_per_request()


@pytest.mark.parametrize("way", WAYS)
def test_a_refusal_comes_through(way: str, server: Server, books: Books, tool: Tool) -> None:
    books.refuse()
    with pytest.raises(BudgetExceeded):
        got(WAYS[way], server, tool)
    books.assert_refused_once()


def test_without_costguard_the_tool_and_the_caller_see_the_same(
    server: Server, books: Books, tool: Tool, first: Guard
) -> None:
    """Last: it takes costguard's patches away, from under the tool's or from above them."""
    beside = {way: got(WAYS[way], server, tool) for way in WAYS}
    assert len(books.entries()) == len(server.asked) == len(WAYS)
    books.guard.uninstrument()
    first.uninstrument()
    alone = {way: got(WAYS[way], server, tool) for way in WAYS}
    assert beside == alone
    assert len(books.entries()) == len(WAYS), "a call was recorded after uninstrument()"
    assert [way for way, (_, seen) in alone.items() if not seen] == [], "the tool does not see these calls"
