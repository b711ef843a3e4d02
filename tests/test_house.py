"""The house: imports go down its floors only. Every import statement is read, lazy and TYPE_CHECKING ones too."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "costguard"

FACE = "__init__"
ROOM_FLOORS = {
    "pricing": 2, "web": 2,
    "providers": 4, "ledger": 4, "telemetry": 4,
    "alerts": 5, "reports": 5,
    "dashboard": 7,
}  # fmt: skip
FILE_FLOORS = {
    "tags": 1, "baggage": 1, "money": 1, "errors": 1, "carry": 1, "executors": 1, "sealing": 1, "version": 1,
    "call": 2, "budgets": 2, "budget_text": 2, "budget_actions": 2, "windows": 2, "units": 2, "grants": 2,
    "families": 2, "budget_set": 2, "balance_key": 2,
    "events": 3, "prices_shown": 3, "adjustment": 3, "notice": 3, "holds": 3, "budget_file": 3,
    "admission": 6, "recorder": 6, "waiting": 6, "routes": 6, "guard": 6, "asking": 6, "attempt": 6, "fitting": 6,
    "local_limits": 6, "offload": 6, "overshoot": 6, "readings": 6, "refusals": 6, "settings": 6, "soft_actions": 6,
    "terms": 6, "seeding": 6, "beside": 6, "closing": 6, "correcting": 6, "reprice": 6, "rolling": 6, "repricing": 6,
    "notices": 6, "budget_source": 6, "watchers": 6, "health": 6,
    "cli": 8, "cli_store": 8, "cli_rules": 8, "cli_budgets": 8, "cli_grants": 8, "cli_upkeep": 8, "cli_reprice": 8,
    "cli_prices": 8, "cli_alerts": 8, "cli_sample": 8, "cli_export": 8, "cli_progress": 8, "cli_tail": 8,
    "cli_doctor": 8, "cli_dashboard": 8, "cli_explain": 8, "cli_report": 8, "cli_calls": 8, "cli_standings": 8,
    "doctor": 8, "doctor_app": 8, "doctor_finding": 8, "doctor_ledger": 8, "doctor_setup": 8, "doctor_store": 8,
}  # fmt: skip
FLOORS = ROOM_FLOORS | FILE_FLOORS
"""A new file or room is given its floor here; see the map in docs/glossary.md."""

MOST_LINES = 300


@dataclass(frozen=True)
class Import:
    """`origin` and `target` are modules inside the package, as tuples of names: ("ledger", "sql")."""

    origin: tuple[str, ...]
    target: tuple[str, ...]
    line: int

    def __str__(self) -> str:
        return f"{'/'.join(self.origin)}.py:{self.line} imports {'.'.join(self.target)}"


def module_of(path: Path) -> tuple[str, ...]:
    return path.relative_to(SOURCE).with_suffix("").parts


@cache
def modules() -> dict[tuple[str, ...], ast.Module]:
    return {module_of(path): ast.parse(path.read_text("utf-8"), str(path)) for path in sorted(SOURCE.rglob("*.py"))}


def resolve(names: tuple[str, ...]) -> tuple[str, ...]:
    """The module that a dotted path below `costguard` names: its last part may be a name inside a module."""
    for length in range(len(names), 0, -1):
        for candidate in (names[:length], (*names[:length], FACE)):
            if candidate in modules():
                return candidate
    return (FACE,)


def dotted_imports(origin: tuple[str, ...], tree: ast.Module) -> list[tuple[str, int]]:
    """Every module named by an import statement or by `import_module("...")`, relative ones made absolute."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = ("costguard", *origin)[: -node.level]
                base = ".".join((*package, *([node.module] if node.module else [])))
            found += [(f"{base}.{alias.name}", node.lineno) for alias in node.names]
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func).endswith(("import_module", "__import__"))
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            found.append((str(node.args[0].value), node.lineno))
    return found


@cache
def inner_imports() -> list[Import]:
    found = []
    for origin, tree in modules().items():
        for name, line in dotted_imports(origin, tree):
            head, *rest = name.split(".")
            if head == "costguard":
                found.append(Import(origin, resolve(tuple(rest)), line))
    return found


def room(module: tuple[str, ...]) -> str:
    return module[0]


def floor(module: tuple[str, ...]) -> int:
    return FLOORS[room(module)]


def test_every_file_and_room_has_a_floor() -> None:
    without = {room(module) for module in modules()} - set(FLOORS) - {FACE}
    assert not without, f"give these a floor in FLOORS: {sorted(without)}"


def test_imports_go_down_the_floors_only() -> None:
    upwards = [
        f"{each} (floor {floor(each.origin)} imports floor {floor(each.target)})"
        for each in inner_imports()
        if FACE not in (room(each.origin), room(each.target)) and floor(each.target) > floor(each.origin)
    ]
    assert not upwards, "\n".join(upwards)


def test_nobody_inside_imports_the_face() -> None:
    """The face hands names on lazily: importing it from inside would hide an upward import."""
    inside = [each for each in inner_imports() if room(each.origin) != FACE]
    assert not [str(each) for each in inside if room(each.target) == FACE]


def test_rooms_on_one_floor_do_not_know_each_other() -> None:
    meetings = [
        str(each)
        for each in inner_imports()
        if room(each.origin) != room(each.target)
        and {room(each.origin), room(each.target)} <= set(ROOM_FLOORS)
        and floor(each.origin) == floor(each.target)
    ]
    assert not meetings, "\n".join(meetings)


def reached_from(start: str) -> set[str]:
    """Rooms and files that one room reaches, however indirectly."""
    reached: set[str] = set()
    todo = [start]
    while todo:
        here = todo.pop()
        for each in inner_imports():
            if room(each.origin) == here and room(each.target) not in reached:
                reached.add(room(each.target))
                todo.append(room(each.target))
    return reached


def test_web_and_providers_never_meet_and_neither_knows_the_guard() -> None:
    assert reached_from("web").isdisjoint({"providers", "guard", "routes"})
    assert reached_from("providers").isdisjoint({"web", "guard", "routes"})


@pytest.mark.parametrize("level", ["rooms and files", "modules"])
def test_there_are_no_import_cycles(level: str) -> None:
    graph: dict[object, set[object]] = {}
    for each in inner_imports():
        origin, target = (
            (each.origin, each.target) if level == "modules" else (room(each.origin), room(each.target))
        )  # fmt: skip
        if room(each.origin) != FACE and origin != target:
            graph.setdefault(origin, set()).add(target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a cycle: {' -> '.join(map(str, error.args[1]))}")


def test_only_the_catalog_imports_genai_prices() -> None:
    importers = {
        "/".join(origin)
        for origin, tree in modules().items()
        for name, _ in dotted_imports(origin, tree)
        if name.split(".")[0] == "genai_prices"
    }
    assert importers == {"pricing/catalog"}


def test_no_file_is_longer_than_a_noun_needs() -> None:
    paths = {path.relative_to(SOURCE).as_posix(): path for path in SOURCE.rglob("*.py")}
    lengths = {name: len(path.read_text("utf-8").splitlines()) for name, path in paths.items()}
    long = {name: lines for name, lines in lengths.items() if lines > MOST_LINES}
    assert not long, f"over {MOST_LINES} lines: {long}"


def test_no_file_is_named_for_nothing() -> None:
    nothing = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert not [module for module in modules() if nothing & set(module)]


def test_every_module_says_what_it_is() -> None:
    assert not ["/".join(module) for module, tree in modules().items() if not ast.get_docstring(tree)]


def test_an_upward_import_would_be_seen() -> None:
    """The reader itself: lazy, TYPE_CHECKING, relative and by-name imports are all import statements."""
    tree = ast.parse(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from costguard.guard import Guard\n"
        "def late():\n    import costguard.cli\n    from ..alerts import outbox\n"
        "    import_module('costguard.reports.spend')\n"
    )
    names = {name for name, _ in dotted_imports(("ledger", "sql"), tree)}
    assert names >= {"costguard.guard.Guard", "costguard.cli", "costguard.alerts.outbox", "costguard.reports.spend"}
