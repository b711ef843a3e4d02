"""What a page may look at: the ledger, the budgets, the moment, and who asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from costguard.budgets import Budget
from costguard.dashboard.access import Person
from costguard.dashboard.files import file, mark
from costguard.dashboard.hidden_ledger import values_of
from costguard.dashboard.hiding import HIDDEN, NOBODY, Hiding
from costguard.dashboard.known import Known
from costguard.dashboard.query import Query
from costguard.errors import ConfigError
from costguard.ledger.base import Ledger

if TYPE_CHECKING:
    from costguard.guard import Guard


@dataclass(frozen=True, slots=True)
class View:
    """Made for each request; templates know it as `view`.

    ledger:  answers with hidden values where they are hidden; what is asked beside it goes through `hiding`
    guard:   of this process; None where the dashboard was given a store
    known:   the budgets, grants and alert rules in force
    now:     UTC
    person:  who asks, and what they may
    page:    its name
    root:    from the page to the mount: "./", "../", ...
    params:  of the path
    csrf:    what a form carries, as its field "csrf"
    flash:   what was just done, in words; "" for nothing
    error:   why what was asked for was not done, in words; "" for nothing
    form:    the fields that were sent with it, so that nobody has to fill them in again
    """

    ledger: Ledger
    guard: Guard | None
    known: Known
    hiding: Hiding
    now: datetime
    person: Person
    page: str = ""
    root: str = "./"
    params: Mapping[str, str] = field(default_factory=dict)
    csrf: str = ""
    flash: str = ""
    error: str = ""
    form: Mapping[str, str] = field(default_factory=dict)

    @property
    def now_ns(self) -> int:
        return int(self.now.timestamp()) * 10**9 + self.now.microsecond * 1000

    @property
    def who(self) -> str:
        return self.person.name or "you"

    @property
    def role(self) -> str:
        return self.person.role

    @property
    def operator(self) -> bool:
        """Whether forms are shown at all; who posts without being one is refused."""
        return self.person.operator

    @property
    def store(self) -> str:
        """Without a password."""
        return self.ledger.url

    def param(self, name: str) -> str:
        return self.params[name]

    def url(self, path: str = "", query: str | Mapping[str, Any] | None = None) -> str:
        """The address of another page, relative to this one: works wherever the dashboard is mounted.

        query: the text after "?", or its parameters
        """
        text = query if isinstance(query, str) else urlencode([(k, v) for k, v in (query or {}).items() if v != ""])
        return f"{self.root}{quote(path, safe='/')}" + (f"?{text.removeprefix('?')}" if text else "")

    def narrowed(self, query: Query, name: str, value: str, **changes: str | int | None) -> str:
        """`query.narrowed`; "" for a value that all have who are hidden, which chooses nobody."""
        if value == HIDDEN and self.hiding.way == "hidden" and self.hiding.hides(name):
            return ""
        return query.narrowed(name, value, **changes)

    def static(self, name: str) -> str:
        """With a mark of what is in it: a browser keeps it, and asks for another one after an upgrade."""
        found = file(name)
        return f"{self.root}static/{quote(name, safe='/')}" + (f"?v={mark(found[2])}" if found else "")

    def raw(self, name: str, shown: str) -> str:
        """The value of a tag that is shown so; of a name that nobody has, a value that nobody has."""
        found = self.hiding.raw(name, shown, lambda: values_of(self.known.ledger, name))
        return NOBODY if found is None else found

    def meant(self, name: str, written: str) -> str:
        """The value that somebody wrote: as it is shown, or as it is.

        Raises ConfigError for what is shown of nobody, or of everybody: it would be taken for somebody of that name.
        """
        found = self.raw(name, written)
        if found == NOBODY and self.hiding.looks_hidden(name, written):
            raise ConfigError(f"{name} {written!r} is nobody that is known here; write the value itself")
        return written if found == NOBODY else found

    def meant_rule(self, rule: Budget) -> Budget:
        """The same for all values in a rule."""
        if not self.hiding.on:
            return rule
        real: dict[str, Any] = {
            name: tuple([(tag, self.meant(tag, value)) for tag, value in getattr(rule, name)])
            for name in ("for_", "where")
        }
        return replace(rule, **real)

    def payer(self, payer: Mapping[str, str]) -> str:
        """In words, with what is hidden hidden: "user=alice" or "everyone"."""
        return ",".join(f"{name}={value}" for name, value in self.hiding.show_all(payer).items()) or "everyone"
