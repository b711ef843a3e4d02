"""What a row holds, or was charged with, on each balance: the text of the `keys` columns.

A key on each line: they are JSON, which has neither a raw newline nor a raw tab. Much quicker than JSON of JSON.
What is held or charged on it is the row's own amount, unless a number follows after a tab: on a limit that counts
something else than the row does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from costguard.budgets import Limit
from costguard.events import Entry, Hold
from costguard.ledger.base import is_lease


def held_keys(hold: Hold, limits: Sequence[Limit]) -> str:
    """Of a hold: its row's amount is in nano-dollars, that of a lease in the unit of its limit."""
    if is_lease(hold.call):
        return "\n".join([limit.key for limit in limits])
    return "\n".join([limit.key if limit.unit == "usd" else f"{limit.key}\t{hold.on(limit)}" for limit in limits])


def charged_keys(entry: Entry, limits: Sequence[Limit]) -> str:
    """Of an entry that is to be replaced by the truth: its row's amount is its cost in nano-dollars."""
    return "\n".join([limit.key if limit.unit == "usd" else f"{limit.key}\t{entry.on(limit)}" for limit in limits])


def write_keys(amounts: Mapping[str, int], plain: Iterable[str] = ()) -> str:
    """Of amounts by key; those in `plain` are the row's own."""
    own = set(plain)
    return "\n".join([key if key in own else f"{key}\t{amount}" for key, amount in amounts.items()])


def read_keys(text: str, amount: int) -> dict[str, int]:
    """Amounts by key; `amount` is the row's own."""
    if not text:
        return {}
    if "\t" not in text:
        # Not splitlines: a tag's value may hold U+2028 and others that it takes for line ends.
        return dict.fromkeys(text.split("\n"), amount)
    amounts = {}
    for line in text.split("\n"):
        key, tab, other = line.partition("\t")
        amounts[key] = int(other) if tab else amount
    return amounts
