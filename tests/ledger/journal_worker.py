"""A process with a journal: `python -m tests.ledger.journal_worker URL DIRECTORY what [count]`.

settle: settles calls until it is killed; prints the id of each once `settle` has returned
leave:  settles `count` calls that its writer has no time to move, and dies; prints their ids
replay: waits for a line, then opens the ledger and stays until nothing is left in the directory
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from costguard.ledger import journal_queue
from costguard.ledger.journal import JournalLedger
from costguard.ledger.opening import open_ledger
from tests.ledger.values import NOW, SECOND, entry, hold, limit

LIMITS = (limit("$1000/day per user"), limit("$1000/month"))


def main(url: str, folder: str, what: str, count: str = "0") -> None:
    directory = Path(folder)
    # Many files, and a queue that is read back from them, in every run.
    journal_queue.FILE_BYTES, journal_queue.MOST_QUEUED = 50_000, 200
    if what == "replay":
        sys.stdin.readline()
        ledger = JournalLedger(open_ledger(url), directory)
        ledger.open()
        deadline = time.monotonic() + 60
        while any(directory.glob("*.journal")) and time.monotonic() < deadline:
            time.sleep(0.01)
        ledger.close()
        return
    patient = {"every": 1000.0, "batch": 1_000_000} if what == "leave" else {"every": 0.01, "batch": 50}
    ledger = JournalLedger(open_ledger(url), directory, fsync=what == "sync", **patient)  # type: ignore[arg-type]
    ledger.open()
    number = 0
    while True:
        number += 1
        one = hold(*LIMITS, cents=1, seconds=1)
        if number % 10 == 0 and what != "leave":
            ledger.reserve(one, NOW)
        told = ledger.settle(entry(one, 0.01 * (number % 7), response_id=f"answer-{number}"), one)
        assert told == (), told
        os.write(1, f"{one.call.id}\n".encode())
        if what == "leave" and number == int(count):
            os.kill(os.getpid(), signal.SIGKILL)
        if what != "leave" and number > 200_000:
            raise SystemExit("nobody killed it")


LATER = NOW + 10 * SECOND
"""When the holds of killed workers have expired."""

if __name__ == "__main__":
    main(*sys.argv[1:])
