"""What providers say that they charged, in the recorded exchanges, beside what our prices come to.

`python -m tests.providers.reported` prints a line each: the provider's own figure, ours, and where they differ, why.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any

from costguard.money import from_nanos, show_usd
from costguard.pricing.book import PriceBook, Rates
from costguard.pricing.usage import Usage
from tests.providers import exchanges
from tests.providers.drivers import drivers

NAMES = {"pydantic-gateway": "openai"}
"""Who sets the prices, where that is not who answers."""
HALF_A_NANO = 1
ROUNDED = 20_000
"""Nano-dollars: Perplexity gives input and output to a hundred-thousandth of a dollar each."""


@dataclass(frozen=True)
class Line:
    record: str
    provider: str
    model: str
    said: int
    ours: int | None
    why: str

    def __str__(self) -> str:
        ours = "no price" if self.ours is None else show_usd(from_nanos(self.ours))
        said = show_usd(from_nanos(self.said))
        return f"{self.record}  {self.provider:<17} {self.model:<38} {said:>13} {ours:>13}  {self.why}"


async def lines() -> list[Line]:
    """One for each recording whose provider tells a cost."""
    found = []
    (driver,) = drivers("openai")
    book = PriceBook()
    clients = driver.Clients()
    with exchanges.serving() as server:
        for record in exchanges.records():
            if record["status"] >= 400 or not driver.takes(record):
                continue
            told = await driver.run(clients, server, record, "sync")
            for call, outcome in told.settled:
                if outcome.reported is None:
                    continue
                provider = NAMES.get(record["provider"], record["provider"])
                model = outcome.model or call.model
                rates = book.rates(provider, model, _made(record), outcome.context)
                if rates is None and model != call.model:
                    rates = book.rates(provider, call.model, _made(record), outcome.context)
                ours = None if rates is None or outcome.usage is None else rates.nanos(outcome.usage)
                why = explain(record, outcome.reported, ours, rates, outcome.usage)
                found.append(Line(record["id"], record["provider"], model, outcome.reported, ours, why))
    await clients.close()
    return found


def _made(record: dict[str, Any]) -> int:
    """When the exchange was recorded, as far as it says: prices change."""
    date = record["response_headers"].get("date")
    if date:
        return int(parsedate_to_datetime(date).timestamp() * 1e9)
    for name in ('"created":', '"created_at":'):
        _, seen, rest = record["response_body"].partition(name)
        digits = rest.lstrip()[:10]
        if seen and digits.isdigit():
            return int(digits) * 10**9
    return int(datetime.now(UTC).timestamp() * 1e9)


def explain(record: dict[str, Any], said: int, ours: int | None, rates: Rates | None, usage: Usage | None) -> str:
    """Nothing where both agree to the nano-dollar, which is where both round."""
    if ours is not None and abs(ours - said) <= HALF_A_NANO:
        return ""
    raw = record["ground_truth"].get("raw_usage") or {}
    parts = list(_parts(record, raw, said, rates, usage))
    return "; ".join(parts) or "NOT EXPLAINED"


def _parts(
    record: dict[str, Any], raw: dict[str, Any], said: int, rates: Rates | None, usage: Usage | None
) -> Iterator[str]:
    if rates is None or usage is None:
        yield "our list has no price for it" if rates is None else "no usage is told"
        return
    missing = rates.missing(usage)
    if missing:
        yield f"our list has no price for {', '.join(missing)}"
    fees = [line.subtotal for line in rates.receipt(usage).lines if line.bucket == "requests"]
    tokens = rates.nanos(usage) - _nanos(sum(fees, Decimal(0)))
    cost = raw.get("cost")
    if isinstance(cost, dict) and "request_cost" in cost:
        size = raw.get("search_context_size")
        yield f"search fee {_usd(cost['request_cost'])} ({size} context), in our list {', '.join(map(show_usd, fees))}"
        rest = abs(_nanos(cost["total_cost"]) - _nanos(cost["request_cost"]) - tokens)
        yield (
            "tokens equal as far as it rounds" if rest <= ROUNDED else f"tokens differ by {show_usd(from_nanos(rest))}"
        )
        return
    if raw.get("is_byok"):
        yield "with the caller's own key: OpenRouter's fee and what the provider takes"
    details = raw.get("cost_details") or {}
    split = [details.get(f"upstream_inference_{name}_cost") for name in ("prompt", "completions")]
    if split[0] is None:
        split = [details.get(f"upstream_inference_{name}_cost") for name in ("input", "output")]
    if record["provider"] == "openrouter" and None not in split:
        upstream = sum(_nanos(each) for each in split)
        if said > upstream:
            yield f"a fee of {show_usd(from_nanos(said - upstream))} beside the tokens, for a plugin such as web search"
        if abs(upstream - tokens) <= HALF_A_NANO:
            yield "tokens equal"
        else:
            asked, answered = (_nanos(each) for each in split)
            yield (
                f"the host that answered takes {_per_million(asked, usage.input_tokens)} in and "
                f"{_per_million(answered, usage.output_tokens)} out a million, our list is of another"
            )


def _usd(amount: Any) -> str:
    return show_usd(Decimal(repr(amount)))


def _nanos(amount: Any) -> int:
    exact = amount if isinstance(amount, Decimal) else Decimal(repr(amount))
    return int((exact * 10**9).to_integral_value())


def _per_million(nanos: int, count: int) -> str:
    return show_usd(Decimal(nanos) / 1000 / count) if count else "nothing"


def main() -> None:
    found = asyncio.run(lines())
    print(*found, sep="\n")
    counts = Counter((line.provider, "explained" if line.why else "equal") for line in found)
    unexplained = sum("NOT EXPLAINED" in line.why for line in found)
    print("; ".join(f"{provider}: {count} {how}" for (provider, how), count in sorted(counts.items())))
    print(f"{len(found)} costs that providers state; not explained: {unexplained}")


if __name__ == "__main__":
    main()
