"""One thing that the doctor has to say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from costguard.errors import CostGuardError

Level = Literal["problem", "warning", "note", "ok"]
LEVELS: tuple[Level, ...] = ("problem", "warning", "note", "ok")
"""problem: something does not work, or money is not counted. warning: it works, and will surprise somebody.
note: worth knowing. ok: looked at, and fine."""


@dataclass(frozen=True, slots=True)
class Finding:
    """about: the part that was looked at, such as "store"; way_out: what to do, "" where nothing is to be done."""

    about: str
    level: Level
    text: str
    way_out: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"about": self.about, "level": self.level, "text": self.text, "way_out": self.way_out}


def of_error(about: str, error: CostGuardError) -> Finding:
    """Our errors say what is wrong, and after the first semicolon the way out."""
    text, _, way_out = " ".join(str(error).split()).partition("; ")
    return Finding(about, "problem", text, way_out)
