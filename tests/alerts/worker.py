"""A worker process of the outbox tests: `python -m tests.alerts.worker deliver|fork STORE WEBHOOK`."""

from __future__ import annotations

import os
import sys
import time

from costguard.alerts.outbox import Outbox
from costguard.alerts.slack import slack
from costguard.ledger.opening import open_ledger
from tests.alerts.crossings import tell


def main(what: str, store: str, webhook: str) -> int:
    ledger = open_ledger(store)
    outbox = Outbox(ledger, [slack(webhook, folds=False)], pause=lambda tries: 0.02 * tries)
    if what == "deliver":
        print("ready", flush=True)
        sys.stdin.readline()
        return outbox.flush(30)
    tell(ledger, "parent", at_ns=time.time_ns())
    assert outbox.flush(30) == 0
    child = os.fork()
    if child == 0:
        tell(ledger, "child", at_ns=time.time_ns())
        os._exit(outbox.flush(30))
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
