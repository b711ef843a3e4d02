"""Results as tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from rich.console import Console
from rich.table import Table

Column: TypeAlias = tuple[str, str]
"""Heading, and the key of a row."""


def show(title: str, columns: Iterable[Column], rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows; a figure above its `target_us` is red."""
    columns = list(columns)
    table = Table(title=title, title_justify="left")
    found = list(rows)
    for heading, key in columns:
        text = any(isinstance(row.get(key), str) for row in found)
        table.add_column(heading, justify="left" if text else "right", no_wrap=True)
    for row in found:
        target = row.get("target_us")
        style = "red" if target is not None and row.get("added_us", 0) > target else None
        table.add_row(*(_cell(row.get(key)) for _, key in columns), style=style)
    Console(width=120).print(table)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,.1f}" if isinstance(value, float) else str(value)
