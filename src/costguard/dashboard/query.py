"""The state of a page, which is all in its address: what is looked at, from when, by what, and how."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import parse_qsl, urlencode

from costguard.errors import ConfigError

WHERE = "where."
"""Before the name of a tag, or of provider, model, operation, status: `?where.feature=chat&where.model=gpt-4o`."""

_MOST = 100
_LONGEST = 1000


class Query:
    """The parameters of an address, in order. Immutable; addresses of other states are made from it.

    Raises ConfigError for more, or longer, parameters than any page has.
    """

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self.items = tuple([(name, value) for name, value in items if value != ""])

    @classmethod
    def read(cls, text: str) -> Query:
        """From what comes after the "?"."""
        try:
            items = parse_qsl(text, keep_blank_values=False, max_num_fields=_MOST, errors="replace")
        except ValueError:
            raise ConfigError(f"the address has more than {_MOST} parameters; leave some out") from None
        for name, value in items:
            if len(name) > _LONGEST or len(value) > _LONGEST:
                raise ConfigError(f"the parameter {name[:40]!r} is longer than {_LONGEST} characters; shorten it")
        return cls(items)

    def get(self, name: str, default: str = "") -> str:
        """The last value of a parameter."""
        return next((value for other, value in reversed(self.items) if other == name), default)

    def names(self, name: str, default: Iterable[str] = ()) -> tuple[str, ...]:
        """A list written with commas: `by=user,feature`."""
        parts = self.get(name).split(",")
        return tuple(dict.fromkeys(part.strip() for part in parts if part.strip())) or tuple(default)

    def number(self, name: str, default: int, *, most: int) -> int:
        """A whole number from 1. Raises ConfigError, naming the parameter, for anything else."""
        text = self.get(name)
        if not text:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
            raise ConfigError(f"{name}={text!r} is not a whole number from 1 to {most}")
        return int(text)

    @property
    def where(self) -> Mapping[str, str | tuple[str, ...]]:
        """The filters: a value for each name, or several of which any will do."""
        found: dict[str, tuple[str, ...]] = {}
        for name, value in self.items:
            if name.startswith(WHERE):
                tag = name.removeprefix(WHERE)
                found[tag] = tuple(dict.fromkeys((*found.get(tag, ()), value)))
        return {name: values[0] if len(values) == 1 else values for name, values in found.items()}

    @property
    def chips(self) -> tuple[tuple[str, str, str], ...]:
        """Each filter as (name, value, address without it)."""
        return tuple([
            (name.removeprefix(WHERE), value, self._href([*self.items[:place], *self.items[place + 1 :]]))
            for place, (name, value) in enumerate(self.items)
            if name.startswith(WHERE)
        ])  # fmt: skip

    def href(self, **changes: str | int | None) -> str:
        """The address of this page with these parameters changed, without those that are None: "?since=7d"."""
        return self._href(self._changed(changes))

    def narrowed(self, tag: str, value: str, **changes: str | int | None) -> str:
        """The address of this page with one more filter, and the parameters changed."""
        kept = [(name, was) for name, was in self._changed(changes) if name != WHERE + tag]
        return self._href([*kept, (WHERE + tag, value)])

    def text(self, **changes: str | int | None) -> str:
        """`href` without the "?", for an address of another page."""
        return urlencode(self._changed(changes))

    def only(self, *names: str) -> Query:
        """Those parameters alone; "where." stands for all filters."""
        return Query(
            [(name, value) for name, value in self.items if name in names or (WHERE in names and name[:6] == WHERE)]
        )

    def _changed(self, changes: Mapping[str, str | int | None]) -> list[tuple[str, str]]:
        items = [(name, value) for name, value in self.items if name not in changes]
        return items + [(name, str(value)) for name, value in changes.items() if value not in (None, "")]

    @staticmethod
    def _href(items: Iterable[tuple[str, str]]) -> str:
        return "?" + urlencode(list(items))

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self.items)

    def __str__(self) -> str:
        return urlencode(self.items)
