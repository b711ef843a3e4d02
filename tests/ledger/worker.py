"""A process of its own on a shared ledger: `python -m tests.ledger.worker URL what [count]`."""

from __future__ import annotations

import json
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

from costguard.ledger.base import Ledger
from costguard.ledger.opening import open_ledger
from tests.ledger.values import NOW, entry, hold, limit


def spend(ledger: Ledger, cents: float = 10) -> bool:
    """One call of ten cents on $1 a day for each user and $5 a month for all; True if it was allowed."""
    one = hold(limit(), limit("$5/month"), cents=cents)
    if ledger.reserve(one, NOW) is not None:
        return False
    return ledger.settle(entry(one, cents), one) is not None


def main(url: str, what: str, count: str = "1") -> None:
    ledger = open_ledger(url)
    if what == "spend":
        sys.stdin.readline()
        print(json.dumps(sum(spend(ledger) for _ in range(int(count)))))
    elif what == "threads":
        sys.stdin.readline()
        with ThreadPoolExecutor(int(count)) as pool:
            print(json.dumps(sum(pool.map(lambda _: spend(ledger), range(int(count))))))
    elif what == "die":
        one = hold(limit(), limit("$5/month"), cents=30, seconds=60)
        if ledger.reserve(one, NOW) is not None:
            raise SystemExit("there was room")
        print(one.call.id, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "fill":
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        done = 0
        try:
            while done < 10_000:
                done += spend(ledger, 0.0001)
        except Exception as error:
            print(json.dumps([type(error).__name__, str(error), done]))


if __name__ == "__main__":
    main(*sys.argv[1:])
