"""What every command of `costguard` shares: the store it works on, errors in one line, and plain output."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any
from uuid import uuid4

import typer

from costguard.errors import ConfigError, CostGuardError, StoreUnavailable
from costguard.ledger.base import Ledger
from costguard.ledger.deeds import Deed

FAILED, WRONG = 1, 2
"""Exit codes: the store cannot be read or written, or something was found; the command or a setting is wrong."""

Store = Annotated[
    str | None,
    typer.Option("--store", envvar="COSTGUARD_STORE", metavar="URL", help="The ledger, e.g. sqlite:///costs.db"),
]
Json = Annotated[bool, typer.Option("--json", help="For programs; amounts as strings")]
Author = Annotated[
    str | None,
    typer.Option("--author", envvar="COSTGUARD_AUTHOR", metavar="NAME", help="Who does it; by default the login name"),
]
Reason = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="What it is for; written down with who did it and when")
]
BY_HAND = "on the command line"
"""The reason of a change that was made without one."""
Since = Annotated[str, typer.Option(help="7d, 24h, today, week, month, 2026-11-01, or all")]
Until = Annotated[str | None, typer.Option(help="The same; not included")]
Where = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE", help="Only calls with this tag, provider, model, operation or status; repeatable, any of"
    ),
]
Zone = Annotated[str, typer.Option("--tz", metavar="ZONE", help="Whose midnights count, such as Europe/Berlin")]


def one_of(*words: str) -> Callable[[str], list[str]]:
    """For completion in a shell: those that go on as was typed."""
    return lambda incomplete: [word for word in words if word.startswith(incomplete)]


@contextmanager
def one_line() -> Iterator[None]:
    """An error of ours is one line on stderr, without a traceback."""
    try:
        yield
    except CostGuardError as error:
        # It may name what is stored, such as a tag, or what another program said.
        typer.echo(f"costguard: {visible(' '.join(str(error).split()))}", err=True)
        raise typer.Exit(FAILED if isinstance(error, StoreUnavailable) else WRONG) from None


@contextmanager
def ledger_at(url: str | None, *, make: bool = False) -> Iterator[Ledger]:
    """The ledger of a command. Only with `make` is it made, or its schema changed, where it has to be."""
    if not url:
        raise ConfigError("no store given: add --store sqlite:///costs.db, or set COSTGUARD_STORE")
    if url.startswith("memory:"):
        raise ConfigError("store 'memory://' lives inside one process and cannot be read from here; use a database")
    if not make:
        from costguard.ledger.schema import require_current

        require_current(url)
    from costguard.ledger.opening import open_ledger

    ledger = open_ledger(url)
    _tell_of_journals(url)
    try:
        yield ledger
    finally:
        ledger.close()


def _tell_of_journals(url: str) -> None:
    """Entries on their way to the store are not in what is shown."""
    from costguard.ledger.journal_file import waiting_bytes
    from costguard.ledger.journal_place import journal_directory

    try:
        waiting = sum(waiting_bytes(path) > 0 for path in journal_directory(url).glob("*.journal"))
    except (OSError, ConfigError):
        return
    if waiting:
        typer.echo(
            f"note: {waiting} journal{'s' * (waiting > 1)} of running or dead processes hold entries that are "
            "not in the store yet; a running guard of this store brings them in",
            err=True,
        )


def author_or_login(given: str | None) -> str:
    """Who is written down as the author of a change."""
    if given is None:
        try:
            given = getpass.getuser()
        except (OSError, KeyError, ImportError):
            raise ConfigError("nobody is logged in here; say who does this: --author NAME") from None
    name = " ".join(given.split())
    if not name:
        raise ConfigError("the author is empty; give --author NAME")
    return name


def deed_of(action: str, author: str, reason: str, now_ns: int, **details: object) -> Deed:
    """What a command changes, for the audit trail. Raises ConfigError without an author."""
    return Deed(uuid4().hex, now_ns, author, action, " ".join(reason.split()), details)


def pairs(given: Iterable[str], option: str) -> dict[str, str]:
    """TAG=VALUE, several times or with commas between."""
    found: dict[str, str] = {}
    for part in given:
        for one in part.split(",") if option != "--where" else [part]:
            name, equals, value = (piece.strip() for piece in one.partition("="))
            if not (name and equals and value):
                raise ConfigError(f"{option} {part!r} is not TAG=VALUE, e.g. {option} feature=chat")
            if name in found:
                raise ConfigError(f"{option} names the tag {name!r} twice")
            found[name] = value
    return found


def chosen(where: Iterable[str] | None) -> dict[str, str | list[str]]:
    """NAME=VALUE, several times: of one name any of the values."""
    found: dict[str, list[str]] = {}
    for part in where or ():
        for name, value in pairs([part], "--where").items():
            found.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def since_or_all(text: str) -> str | None:
    return None if text.strip().lower() == "all" else text


def show(text: str, *, end: str = "\n") -> None:
    """Print; a terminal without UTF-8 shows "?" for what it lacks, instead of a traceback."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    typer.echo(f"{text}{end}", nl=False)


def show_json(value: Any) -> None:
    show(json.dumps(value, indent=2))


def terminal() -> dict[str, Any]:
    """How to draw: `width` in columns, None where it is no terminal; `color`, never where NO_COLOR is set."""
    if not sys.stdout.isatty():
        return {"width": None, "color": False}
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return {"width": shutil.get_terminal_size().columns, "color": not plain}


def show_table(headings: Sequence[str], lines: Iterable[Sequence[str]], *, none: str) -> None:
    """Lines under headings, in columns as wide as they need; `none` where there is no line."""
    rows = [[visible(cell) for cell in line] for line in lines]
    if not rows:
        show(none)
        return
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    for row in (list(headings), *rows):
        show("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def took(seconds: float) -> str:
    """How long a call took: "44 ms", "1.2 s"."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:,.1f} s"


def visible(text: str) -> str:
    """Without control characters: names and tags come from people and could drive the terminal."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)
