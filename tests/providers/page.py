"""The tables of docs/providers.md, from the rows themselves: `python -m tests.providers.page` writes them there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from costguard.providers.registry import ROWS
from costguard.providers.rows import Provider

ROOT = Path(__file__).parents[2]
BELOW = {"botocore": "boto3", "aiobotocore": "aioboto3"}
"""Packages that are installed with the one whose name people know."""


def distribution(row: Provider) -> str:
    return BELOW.get(row.package, row.package).replace(".", "-")


def extra_of(row: Provider) -> tuple[str, str]:
    """The extra that installs an SDK, "-" if none does, and the versions it takes."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    for name, (requirement, *_) in extras.items():
        found = re.match(r"([\w.-]+)(.*)", requirement)
        if found and found[1] == distribution(row):
            return name, found[2]
    return "-", ""


def operations(row: Provider, **wanted: bool) -> str:
    """What `Entry.operation` says, of the routes that have, or have not, what is named."""
    found = [
        route.operation
        for route in row.routes
        if all(bool(getattr(route, name)) is value for name, value in wanted.items())
    ]
    return ", ".join(dict.fromkeys(found)) or "-"


def calls() -> list[str]:
    lines = [
        "| extra | versions | what costs money | of it estimated | read later | free paths |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in ROWS:
        name, versions = extra_of(row)
        cells = [f"`{name}`", f"{distribution(row)} {versions}".strip(), operations(row, poll=False)]
        cells += [operations(row, guess=True), operations(row, poll=True)]
        lines.append(f"| {' | '.join(cells)} | {', '.join(f'`{end}`' for end in row.free) or '-'} |")
    return lines


def seams() -> list[str]:
    lines = []
    for row in ROWS:
        places = [(seam.module, seam.name) for seam in row.seams]
        if row.stainless:
            places = [(row.seam, "SyncAPIClient.request"), (row.seam, "AsyncAPIClient.request")]
        modules, names = (
            ", ".join(f"`{each}`" for each in dict.fromkeys(found)) for found in zip(*places, strict=True)
        )
        lines.append(f"- {modules}: {names}")
    return lines


TABLES = {"calls": calls, "seams": seams}
"""What stands on the page between `<!-- name -->` and `<!-- end -->`."""

PAGE = ROOT / "docs" / "providers.md"


def written(text: str) -> str:
    """The page with its tables as the rows are now."""
    for name, table in TABLES.items():
        begin = f"<!-- {name} -->"
        before, _, rest = text.partition(begin)
        _, end, after = rest.partition("<!-- end -->")
        text = "\n".join((before + begin, "", *table(), "", end + after))
    return text


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")
