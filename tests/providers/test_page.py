"""docs/providers.md tells of every SDK that is known, as its row does."""

from __future__ import annotations

from tests.providers.page import PAGE, written


def test_the_page_has_every_row_as_it_is() -> None:
    text = PAGE.read_text("utf-8")
    assert written(text) == text, "run `python -m tests.providers.page`"
