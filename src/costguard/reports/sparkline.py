"""Numbers as small pictures of text: a line of blocks, and a bar."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

_HEIGHTS = "▁▂▃▄▅▆▇█"
_WIDTHS = "▏▎▍▌▋▊▉█"
_NOTHING = "·"


def sparkline(values: Sequence[Decimal | int]) -> str:
    """A block for each value, the highest for the largest; a dot where there is nothing, or less."""
    most = max(values, default=0)
    if most <= 0:
        return _NOTHING * len(values)
    top = len(_HEIGHTS) - 1
    return "".join(_HEIGHTS[int(value * top / most)] if value > 0 else _NOTHING for value in values)


def bar(value: Decimal | int, most: Decimal | int, width: int) -> str:
    """A bar as long as the value's part of `most`, by eighths of a letter; at least an eighth for what is not zero."""
    if value <= 0 or most <= 0 or width <= 0:
        return ""
    eighths = max(1, min(width * 8, int(value * width * 8 / most)))
    whole, part = divmod(eighths, 8)
    return _WIDTHS[-1] * whole + (_WIDTHS[part - 1] if part else "")
