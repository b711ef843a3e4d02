"""A worker with leases on a shared ledger: `python -m tests.ledger.lease_worker URL what [count] [lifetime]`.

It says what it did in JSON, on a line of its own.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from costguard.budgets import Limit
from costguard.errors import StoreUnavailable
from costguard.events import Hold
from costguard.ledger.base import Ledger
from costguard.ledger.journal import JournalLedger
from costguard.ledger.leases import LeaseLedger
from costguard.ledger.opening import open_ledger
from tests.ledger.values import entry, hold, limit

PATIENCE = 40.0
TIGHT, WIDE = "$1/month", "$500/month per feature"
SHARED = "$2/month"


def ask(ledger: Ledger, wanted: Callable[[], Hold]) -> Hold | str:
    """A hold, taken as the admission takes it: waiting while what is left is only held."""
    deadline = time.monotonic() + PATIENCE
    delay = 0.002
    while True:
        one = wanted()
        try:
            refusal = ledger.reserve(one, one.call.started_ns)
        except StoreUnavailable:
            # Kept out by one that was stopped in a transaction: it is a budget that is looked at, not a database.
            if time.monotonic() > deadline:
                raise
        else:
            if refusal is None:
                return one
            if refusal.limit.most - refusal.spent < one.on(refusal.limit):
                return "exceeded"
        if time.monotonic() > deadline:
            return "busy"
        time.sleep(random.uniform(delay / 2, delay))
        delay = min(2 * delay, 0.1)


def stack(url: str, lifetime: float = 60.0) -> LeaseLedger:
    folder = Path(tempfile.mkdtemp(prefix="costguard-leases-"))
    ledger = LeaseLedger(JournalLedger(open_ledger(url), folder), lease_lifetime=lifetime)
    ledger.open()
    return ledger


def limits(*rules: str) -> tuple[Limit, ...]:
    now = time.time_ns()
    return tuple(sorted([limit(rule, at_ns=now) for rule in rules], key=lambda one: one.key))


def spend(ledger: LeaseLedger, count: int, cents: float, rules: tuple[Limit, ...], threads: int = 1) -> dict[str, int]:
    said = {"allowed": 0, "exceeded": 0, "busy": 0}

    def call(_: int) -> str:
        one = ask(ledger, lambda: hold(*rules, cents=cents, at_ns=time.time_ns()))
        if isinstance(one, str):
            return one
        ledger.settle(entry(one, cents), one)
        return "allowed"

    if threads == 1:
        outcomes = [call(place) for place in range(count)]
    else:
        with ThreadPoolExecutor(threads) as pool:
            outcomes = list(pool.map(call, range(count)))
    for outcome in outcomes:
        said[outcome] += 1
    return said


def main(url: str, what: str, count: str = "1", lifetime: str = "60") -> None:
    ledger = stack(url, float(lifetime))
    if what == "spend":
        rules = limits(TIGHT, WIDE)
        sys.stdin.readline()
        print(json.dumps(spend(ledger, int(count), 10, rules)))
        ledger.close()
    elif what == "threads":
        rules = limits(TIGHT, WIDE)
        sys.stdin.readline()
        print(json.dumps(spend(ledger, int(count), 10, rules, threads=25)))
        ledger.close()
    elif what == "small":
        # Many small calls, until there is no room or somebody says stop: half of what they hold.
        rules = limits(SHARED)
        print("ready", flush=True)
        sys.stdin.readline()
        calls = 0
        while True:
            one = ask(ledger, lambda: hold(*rules, cents=0.02, at_ns=time.time_ns()))
            if isinstance(one, str):
                break
            ledger.settle(entry(one, random.choice([0, 0.005, 0.01, 0.02])), one)
            calls += 1
            if calls == 50:
                # Whoever is killed or stopped now has a call running, and its lease with it.
                running = ask(ledger, lambda: hold(*rules, cents=0.02, at_ns=time.time_ns()))
                assert not isinstance(running, str)
                print("spending", flush=True)
                sys.stdin.readline()
                ledger.settle(entry(running, 0.02), running)
        print(json.dumps({"end": one, "calls": calls, "overshoot": ledger.overshoot}), flush=True)
        ledger.close()
    elif what == "idle":
        # Leases, and then makes no more calls.
        spend(ledger, int(count), 1, limits(TIGHT))
        print("idle", flush=True)
        sys.stdin.readline()
    elif what == "cold":
        # The first calls of a kind: held as what is not known yet, and far cheaper.
        rules = limits(WIDE)
        for _ in range(int(count)):
            one = ask(ledger, lambda: hold(*rules, cents=10, at_ns=time.time_ns()))
            assert not isinstance(one, str)
            ledger.settle(entry(one, 1), one)
        ledger.flush()
        print("spending", flush=True)
        sys.stdin.readline()
    elif what == "child":
        from multiprocessing import get_context

        rules = limits(TIGHT)
        spend(ledger, 5, 0.1, rules)
        child = get_context("fork").Process(target=in_child, args=(ledger, rules))
        child.start()
        child.join(30)
        print(json.dumps({"code": child.exitcode}), flush=True)


def in_child(ledger: LeaseLedger, rules: tuple[Limit, ...]) -> None:
    spend(ledger, 5, 0.1, rules)


if __name__ == "__main__":
    main(*sys.argv[1:])
