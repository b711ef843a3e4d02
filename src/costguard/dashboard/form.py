"""What was sent with a form: who wants what done, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from costguard.dashboard.view import View
from costguard.errors import ConfigError

MOST_BYTES = 64_000
_MOST_FIELDS = 50
_LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class Form:
    """The fields, the last of each name.

    author: who is written down: the name that `authorize` gave, else the one that was filled in
    reason: why, in one line
    nonce:  made with the form: sent twice, it is done once
    """

    fields: Mapping[str, str]
    author: str
    reason: str
    nonce: str

    @classmethod
    def fill(cls, fields: Mapping[str, str], name: str) -> Form:
        """Raises ConfigError without an author or a reason."""
        author = name or _line(fields.get("author", ""), 80)
        reason = _line(fields.get("reason", ""), _LONGEST_REASON)
        nonce = fields.get("nonce", "")
        if not author:
            raise ConfigError("every change has an author; fill in your name")
        if not reason:
            raise ConfigError("every change has a reason; say in a few words what it is for")
        if not (16 <= len(nonce) <= 64 and nonce.isascii() and nonce.isalnum()):
            raise ConfigError("the form is not whole; load the page again")
        return cls(fields, author, reason, nonce)

    def get(self, name: str) -> str:
        return self.fields.get(name, "").strip()

    def number(self, name: str) -> int:
        """Raises ConfigError for what is no number of a row."""
        text = self.get(name)
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise ConfigError(f"{name} {text!r} is not a number; load the page again")
        return int(text)


Act = Callable[[View, Form], str]
"""Does what a form asks for, and gives the key of what is then said, see `DONE`. Raises ConfigError, StoreUnavailable.
It runs in a thread."""

_SOON = "All workers see it within seconds."
DONE = {
    "set": f"The budget is set. {_SOON}",
    "same": "The budget was that already.",
    "removed": f"The budget is removed from the database. {_SOON}",
    "observe": f"The budget observes: it records every decision and refuses nothing. {_SOON}",
    "enforce": f"The budget is enforced. {_SOON}",
    "granted": f"The grant is given. {_SOON}",
    "taken": f"The grant is taken back; what was spent of it stays spent. {_SOON}",
    "muted": "Muted: these alerts are kept, and told to nobody.",
    "tried": "The alert is told again, to the channels that did not have it.",
    "unmuted": "No longer muted.",
    "again": "This was done already, and is not done twice.",
}
"""What a page says after a change; its address has the key alone, so that no link can put words into its mouth."""


def read(body: bytes) -> dict[str, str]:
    """The fields of a form. Raises ConfigError for what is none."""
    try:
        return dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError:
        raise ConfigError("what was sent is no form of the dashboard; load the page again") from None


def _line(text: str, most: int) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:most].rstrip()
