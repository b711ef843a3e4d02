"""What varies between the variants of costguard: one table for those who run them and those who list them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LEARNED = ("$100000/day per user",)
THREE = (*LEARNED, "$500000/month", "$90000/day per user,feature where environment=production")


@dataclass(frozen=True, slots=True)
class Setting:
    """What varies: the SDK, the kind of its client, the store and its engine, the budgets and their holds."""

    budgets: tuple[str, ...] = LEARNED
    holds: Literal["learned", "strict"] = "learned"
    store: Literal["memory", "sqlite"] = "memory"
    engine: Literal["leases", "direct"] | None = None
    sdk: str = "openai"
    asynchronous: bool = False
    as_bytes: bool = False


CALLS = {
    "memory, no budget": Setting(()),
    "memory, one learned hold": Setting(),
    "memory, one strict hold": Setting(holds="strict"),
    "memory, three budgets": Setting(THREE),
    "sqlite, no budget": Setting((), store="sqlite"),
    "sqlite, one learned hold": Setting(store="sqlite"),
    "sqlite, one strict hold": Setting(store="sqlite", holds="strict"),
    "sqlite, three budgets": Setting(THREE, store="sqlite"),
    "sqlite direct, no budget": Setting((), store="sqlite", engine="direct"),
    "sqlite direct, one strict hold": Setting(store="sqlite", holds="strict", engine="direct"),
    "sqlite direct, three budgets": Setting(THREE, store="sqlite", engine="direct"),
    "async, memory, one learned hold": Setting(asynchronous=True),
    "async, sqlite, one strict hold": Setting(asynchronous=True, store="sqlite", holds="strict"),
    "anthropic, memory, one learned hold": Setting(sdk="anthropic"),
    "anthropic async, memory, one learned hold": Setting(sdk="anthropic", asynchronous=True),
}
STREAMS = {
    "openai": Setting(),
    "openai async": Setting(asynchronous=True),
    "openai as bytes": Setting(as_bytes=True),
    "anthropic": Setting(sdk="anthropic"),
    "anthropic async": Setting(sdk="anthropic", asynchronous=True),
    "anthropic as bytes": Setting(sdk="anthropic", as_bytes=True),
}
