"""A process of the proof: makes its share of the crossings by spending, and delivers what it can claim.

python -m tests.alerts.proof_worker STORE WEBHOOK NAME FIRST LAST LEASE FOLDS
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from uuid import UUID, uuid5

from costguard.alerts import slack as slack_module
from costguard.alerts.outbox import Outbox
from costguard.alerts.slack import slack
from costguard.budgets import Budget
from costguard.call import Call
from costguard.errors import StoreUnavailable
from costguard.events import Entry, Hold
from costguard.ledger.base import Ledger
from costguard.ledger.opening import open_ledger
from costguard.pricing.usage import Usage
from costguard.tags import Tags

BUDGET = Budget.parse("$1/month per user alerts at 80%")
_IDS = UUID("6b0c3f0a-4a57-4a7e-9a60-0f1d5b6a7c11")


def name_of(number: int) -> str:
    return f"payer-{number:05d}"


def spend(ledger: Ledger, number: int) -> None:
    """One call of a user that costs $0.90 of $1: its settling makes the crossing. Done again, it changes nothing."""
    tags = Tags(user=name_of(number))
    now = time.time_ns()
    call_id = str(uuid5(_IDS, str(number)))
    call = Call("openai", "gpt-4o", tags=tags)
    call.id, call.started_ns = call_id, now
    entry = Entry(
        call_id, now, "openai", "gpt-4o", "chat", 900_000_000, Usage(input_tokens=100, output_tokens=20), tags=tags
    )
    ledger.settle(entry, Hold(call, (BUDGET.limit_for(tags, now),), 0, 0))


def main(store: str, webhook: str, name: str, first: str, last: str, lease: str, folds: str) -> int:
    logging.disable(logging.WARNING)
    slack_module.TIMEOUT = max(1, int(float(lease) / 5))
    ledger = open_ledger(store)
    channel = slack(f"{webhook}?worker={name}", folds=folds == "folds")
    # One channel in all processes: the address differs only to tell the proof who sent what.
    channel.name = "slack"
    outbox = Outbox(ledger, [channel], pause=lambda tries: 0.2, lease_ns=int(float(lease) * 10**9))
    pause = threading.Event()
    for number in range(int(first), int(last)):
        spend(ledger, number)
        # Apps think between two calls: four loops that do nothing else would keep everybody from SQLite for seconds.
        pause.wait(0.004)
        if number % 20 == 0:
            # Where the next generation goes on.
            print(number, flush=True)
            outbox.wake()
    print("spent", flush=True)
    while True:
        outbox.wake()
        try:
            if outbox.flush(1.0) == 0 and sys.stdin.readline():
                # The parent says when everybody has spent: until then there may be more to tell.
                return outbox.flush(60)
        except StoreUnavailable:
            pass
        pause.wait(0.05)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
