"""A worker with budgets as data: `python -m tests.budget_worker watch|fork URL FILE`.

watch: prints the rules in force, and again after each change, until it is killed
fork:  changes the rules after a fork, and prints what parent and child have seen
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from costguard.budget_set import BudgetSet
from costguard.budget_source import BudgetSource
from costguard.ledger.opening import open_ledger
from costguard.ledger.rules import set_budget

DEADLINE = 40.0


def in_force(budgets: BudgetSet) -> list[str]:
    return sorted(map(str, budgets))


def next_change(budgets: BudgetSet, before: list[str]) -> list[str]:
    deadline = time.monotonic() + DEADLINE
    while (now := in_force(budgets)) == before:
        if time.monotonic() > deadline:
            raise SystemExit(f"still {before}")
        time.sleep(0.01)
    return now


def main(what: str, url: str, file: str) -> None:
    ledger = open_ledger(url)
    budgets = BudgetSet()
    source = BudgetSource(budgets, ledger, Path(file))
    source.start()
    now = in_force(budgets)
    if what == "watch":
        while True:
            print(json.dumps(now), flush=True)
            now = next_change(budgets, now)
    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
        os.write(write_end, json.dumps(next_change(budgets, now)).encode())
        os._exit(0)
    set_budget(ledger, "$3/day per user", "ann")
    seen = {"parent": next_change(budgets, now)}
    os.waitpid(child, 0)
    seen["child"] = json.loads(os.read(read_end, 65536))
    print(json.dumps(seen))
    source.close()
    ledger.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
