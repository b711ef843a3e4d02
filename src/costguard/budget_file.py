"""Budgets in a TOML file: `[[budget]]` tables, of one line (`rule`) or of keys.

[[budget]]
rule = "$5/day per user"

[[budget]]
limit = 50
window = "day"
per = "user"
for = { plan = "pro" }
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from decimal import Decimal
from os import PathLike
from pathlib import Path
from typing import Any

from costguard.budgets import Budget
from costguard.errors import ConfigError

_KEYS: dict[str, Any] = {
    "limit": (str, int, Decimal), "window": str, "unit": str, "per": (str, list), "where": dict, "for": dict,
    "tz": str, "holds": str, "alerts": list, "actions": (dict, list), "observe": bool, "name": str, "rule": str,
}  # fmt: skip
_WITH_RULE = {"rule", "name"}


def read_budgets(path: str | PathLike[str]) -> list[Budget]:
    """The budgets of a TOML file, in its order.

    Raises ConfigError, naming the file, the table and the key, for anything that cannot be read.
    """
    file = Path(path)
    try:
        # Decimals, as floats are no money: `limit = 0.1` is ten cents.
        tables = tomllib.loads(file.read_text("utf-8"), parse_float=Decimal)
    except OSError as error:
        raise ConfigError(f"budget file {file} cannot be read: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"budget file {file} is not TOML: {error}") from None
    unknown = sorted(set(tables) - {"budget", "alerts"})
    budgets = tables.get("budget", [])
    if unknown or not isinstance(budgets, list) or not all(isinstance(table, dict) for table in budgets):
        said = f"has {unknown[0]!r}" if unknown else "has a 'budget' that is no list of tables"
        raise ConfigError(f"budget file {file} {said}; write each budget as a table [[budget]]")
    found: dict[str, tuple[int, Budget]] = {}
    for number, table in enumerate(budgets, 1):
        try:
            budget = _budget(table)
        except ConfigError as error:
            raise ConfigError(f"budget file {file}, budget {number}: {error}") from None
        earlier, other = found.setdefault(budget.identity, (number, budget))
        if other != budget:
            raise ConfigError(
                f'budget file {file}, budget {number}: "{budget}" counts the same as budget {earlier}, "{other}"; '
                f"keep the one you mean"
            )
    return [budget for _, budget in found.values()]


def _budget(table: Mapping[str, Any]) -> Budget:
    for key, value in table.items():
        kinds = _KEYS.get(key)
        if kinds is None:
            raise ConfigError(f"key {key!r} is not known; use {', '.join(_KEYS)}")
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
            raise ConfigError(f"key {key!r} cannot be {value!r}; {_example(key)}")
    if "rule" in table:
        beside = sorted(set(table) - _WITH_RULE)
        if beside:
            raise ConfigError(f"key {beside[0]!r} beside 'rule'; say it in the line, or write all of it in keys")
        fields = {"name": table["name"]} if "name" in table else {}
        rule = Budget.parse(table["rule"])
        return Budget(**{**{name: getattr(rule, name) for name in _FIELDS}, **fields})
    if "limit" not in table:
        raise ConfigError("key 'limit' is missing; give limit and window, or the whole line as rule")
    fields = {_FIELD_OF.get(key, key): value for key, value in table.items()}
    if isinstance(fields.get("actions"), dict):
        fields["actions"] = [(at, action) for at, action in fields["actions"].items()]
    for key in ("where", "for"):
        for name, value in table.get(key, {}).items():
            if not isinstance(value, str):
                raise ConfigError(f'key {key!r}: the value of {name} is {value!r}; write it as "{value}"')
    return Budget(**fields)


_FIELD_OF = {"for": "for_"}
_FIELDS = [name for name, field in Budget.__dataclass_fields__.items() if field.init]


def _example(key: str) -> str:
    return {
        "limit": 'write limit = "0.50"',
        "per": 'write per = ["user"]',
        "where": 'write where = { environment = "production" }',
        "for": 'write for = { plan = "pro" }',
        "alerts": 'write alerts = ["80%", "100%"]',
        "actions": 'write actions = { "80%" = "downgrade:gpt-4o-mini" }',
        "observe": "write observe = true",
    }.get(key, f'write {key} = "..."')
