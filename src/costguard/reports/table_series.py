"""What a series is called in a table: its lines and its points."""

from __future__ import annotations

from datetime import datetime

from costguard.reports.series import Series
from costguard.reports.terminal_table import visible
from costguard.windows import zone

_LONGEST = 24


def headings(made: Series) -> list[str]:
    """Of its lines."""
    found = []
    for line in made.lines:
        name = "others" if line.group is None else " / ".join(visible(value) for value in line.group.values())
        found.append(name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…")
    return found


def when(start: datetime, made: Series) -> str:
    """A point, in the zone of the series."""
    local = start.astimezone(zone(made.tz))
    if made.grain == "hour":
        return f"{local:%a %Y-%m-%d %H:%M}"
    return f"{local:%Y-%m}" if made.grain == "month" else f"{local:%a %Y-%m-%d}"
