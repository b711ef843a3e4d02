"""Templates made into pages: everything escaped, nothing undefined, in one environment for all dashboards."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from costguard.dashboard.looks import FILTERS

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
STATIC = Path(__file__).parent / "static"


@cache
def environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    # Not by the name of the file: there is no template of anything but HTML.
    made = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, auto_reload=False,
    )  # fmt: skip
    made.filters.update(FILTERS)
    return made


def page(template: str, context: Mapping[str, Any]) -> str:
    """The HTML of a page."""
    return environment().get_template(template).render(context)


def message(title: str, text: str, what_to_do: str = "", *, root: str = "./") -> str:
    """A page that says one thing, where there is nobody, or no store, to make another one of."""
    return page("message.html", {"title": title, "text": text, "what_to_do": what_to_do, "root": root})
