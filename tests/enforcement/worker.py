"""One process of several that share a ledger: makes calls, tells how many were answered."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

from openai import OpenAI

from costguard import BudgetExceeded, Guard


def work(given: dict[str, Any], line: Connection) -> None:
    """Says that it is ready, waits for a word, and works."""
    guard = Guard(given["store"], budgets=given["budgets"], holds=given["holds"], wait=60)
    guard.instrument()
    client = OpenAI(base_url=given["url"], api_key="none", max_retries=0)
    line.send("ready")
    line.recv()

    def call(number: int) -> bool:
        try:
            client.chat.completions.create(
                model="gpt-4o", messages=[{"role": "user", "content": f"call {number}"}], **given["options"]
            )
        except BudgetExceeded:
            return False
        return True

    with ThreadPoolExecutor(given["threads"]) as pool:
        answered = sum(pool.map(call, range(given["calls"])))
    guard.close(60)
    line.send(answered)
