"""One process of several that share a ledger: makes calls, prints how many were answered and refused."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor

from openai import OpenAI

from costguard import BudgetExceeded, Guard


def main() -> None:
    given = json.loads(sys.argv[1])
    guard = Guard(given["store"], budgets=given["budgets"], holds=given["holds"], wait=60)
    guard.instrument()
    client = OpenAI(base_url=given["url"], api_key="none", max_retries=0)
    print("ready", flush=True)
    sys.stdin.readline()

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
    print(json.dumps({"answered": answered, "refused": given["calls"] - answered}), flush=True)


if __name__ == "__main__":
    main()
