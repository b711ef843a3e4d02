"""`import costguard` must cost an app next to nothing: everything heavy waits until it is used."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = {
    "sqlalchemy", "sqlmodel", "alembic", "pydantic", "genai_prices", "slack_sdk", "typer", "rich", "click",
    "starlette", "fastapi", "flask", "werkzeug", "openai", "anthropic", "httpx", "httpx2", "asyncio", "sqlite3",
}  # fmt: skip


def loaded_after(statement: str) -> set[str]:
    """Top-level packages in a fresh interpreter (without site hooks) after one statement."""
    show = "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    program = f"import sys; sys.path[:] = {sys.path!r}\n{statement}\nimport json\n{show}"
    run = subprocess.run(
        [sys.executable, "-S", "-c", program],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(run.stdout.splitlines()[-1]))


def test_importing_costguard_loads_nothing_heavy() -> None:
    assert not loaded_after("import costguard") & HEAVY


def test_tags_and_errors_are_light_too() -> None:
    light = "from costguard import Budget, BudgetExceeded, bind_tags, current_tags, tagged"
    assert not loaded_after(light) & HEAVY


def test_a_guard_in_memory_loads_no_database_and_no_framework() -> None:
    loaded = loaded_after("from costguard import Guard\nguard = Guard('memory://', budgets=['$5/day per user'])")
    assert not loaded & {"sqlalchemy", "sqlmodel", "alembic", "slack_sdk", "typer", "rich", "starlette", "fastapi"}
    assert not loaded & {"flask", "openai", "anthropic"}
