"""What `benchmarks.reports` has found: on the terminal, and as the tables of docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.questions import ALL_USERS, ONE_USER
from benchmarks.tables import Column, show

TARGETS = {"all users, times the scan": 50, "one user, times the small ledger": 3, "bytes a row": 130, "batch": 1.4}

NAMES = {"sqlite": "SQLite", "postgres": "PostgreSQL"}
COLUMNS: tuple[Column, ...] = (
    ("question", "question"),
    ("ms, min", "ms"),
    ("median", "median"),
    ("first", "first_ms"),
    ("scan, ms", "scan_ms"),
    ("scan / it", "faster"),
    ("1,000 rows", "small_ms"),
    ("it / 1,000", "of_small"),
)


def report(rows: int, result: Mapping[str, Any]) -> None:
    for kind, found in result.items():
        answered = [row for row in found["questions"] if "ms" in row]
        show(f"{kind}, {rows:,} calls, {found['users']:,} users", COLUMNS, answered)
        by_name = {row["question"]: row for row in answered}
        if ALL_USERS in by_name and ONE_USER in by_name:
            faster, of_small = by_name[ALL_USERS].get("faster"), by_name[ONE_USER]["of_small"]
            print(f"all users: {faster} times the scan (target {TARGETS['all users, times the scan']})")
            print(f"one user: {of_small} times the small ledger (target {TARGETS['one user, times the small ledger']})")
        if "size" in found:
            size = found["size"]
            print(f"{size['bytes_a_row']} bytes a row (target {TARGETS['bytes a row']}): {size['parts']}")
            print(f"beside them: {size['beside']}")
        for row in found["questions"]:
            if "ms" not in row:
                print(f"no answer: {row['question']}: {row.get('failed') or row['left_out']}")


def markdown(found: Mapping[int, Mapping[str, Any]]) -> str:
    """A table for each store, by rows and store as `benchmarks.all_sizes` gives them."""
    sizes = sorted(found)
    tables = []
    for kind in dict.fromkeys([kind for of_size in found.values() for kind in of_size]):
        of_kind = {size: found[size][kind] for size in sizes if kind in found[size]}
        by_name = {size: {row["question"]: row for row in one["questions"]} for size, one in of_kind.items()}
        names = list(dict.fromkeys([name for rows in by_name.values() for name in rows]))
        millions = [f"{size:,}" for size in by_name]
        headings = [
            NAMES[kind], "1,000", *millions, *[f"{size}, first" for size in millions],
            *[f"scan of {size}" for size in millions[-1:]], "scan / it", f"{millions[-1]} / 1,000",
        ]  # fmt: skip
        lines = [headings, ["---", *["---:"] * (len(headings) - 1)]]
        for name in names:
            rows = [of_size.get(name, {}) for of_size in by_name.values()]
            lines.append(
                [
                    name, _cell(rows[0].get("small_ms")), *[_cell(row.get("ms")) for row in rows],
                    *[_cell(row.get("first_ms")) for row in rows], _cell(rows[-1].get("scan_ms")),
                    _cell(rows[-1].get("faster")), _cell(rows[-1].get("of_small")),
                ]
            )  # fmt: skip
        tables.append("\n".join([f"| {' | '.join(line)} |" for line in lines]))
        for size, rows_by_name in by_name.items():
            tables += _targets(NAMES[kind], size, rows_by_name)
        tables += [_size(size, one["size"]) for size, one in of_kind.items() if "size" in one]
    return "\n\n".join(tables) + "\n"


def _targets(store: str, rows: int, by_name: Mapping[str, Any]) -> list[str]:
    faster, of_small = by_name.get(ALL_USERS, {}).get("faster"), by_name.get(ONE_USER, {}).get("of_small")
    if faster is None or of_small is None:
        return []
    return [
        f"{store}, {rows:,} rows: {ALL_USERS}, {faster} times faster than the scan (target: "
        f"{TARGETS['all users, times the scan']}); {ONE_USER}, {of_small} times the small ledger (target: at most "
        f"{TARGETS['one user, times the small ledger']})."
    ]


def _size(rows: int, size: Mapping[str, Any]) -> str:
    parts = ", ".join([f"{name} {count}" for name, count in size["parts"].items()])
    return f"{rows:,} rows in SQLite: {size['bytes_a_row']} bytes a row ({parts})."


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"
