"""The runs of the proof: one budget, many callers at once, and what came of it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import cycle
from typing import Any

from openai import AsyncOpenAI, OpenAI

from costguard import BudgetExceeded, Guard, Refused
from tests.enforcement.proof_clocks import TRUE, Clock, wear
from tests.enforcement.proof_namespaces import connect, leave
from tests.enforcement.proof_processes import start
from tests.enforcement.proof_provider import TEN_CENTS, PaidProvider, prompt
from tests.enforcement.proof_stores import Place
from tests.enforcement.proof_witness import Note, Witness, judge

DOLLAR = 10**9
BUDGET = "$1.00/ever"

Ask = tuple[str, int]
"""A caller's name and what its answer costs, in output tokens."""


@dataclass(frozen=True)
class Given:
    """What a run is: who calls, and how.

    ways:     "coroutines", "threads" (`workers` of them), or "processes" (as many, a thread for each call)
    ceiling:  calls say the most they want to pay (`max_tokens`)
    lifetime: of a hold, seconds
    clocks:   of the processes, in turn
    bridge:   the address at which processes in network namespaces of their own find the servers; None: all on loopback
    """

    scenario: str
    holds: Any
    asks: list[Ask]
    ways: str
    workers: int = 1
    ceiling: bool = True
    lifetime: float = 900.0
    clocks: tuple[Clock, ...] = (TRUE,)
    bridge: str | None = None


@dataclass
class Told:
    """What one process has to say. Amounts in nano-dollars.

    answered: names of the calls that the app got an answer to
    needed:   what the holds of the refused ones would have been
    over:     the overshoot that the library reports
    """

    answered: list[str] = field(default_factory=list)
    needed: list[int] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    over: int = 0


@dataclass(frozen=True)
class Result:
    """One row of the table; money in nano-dollars."""

    store: str
    scenario: str
    holds: str
    calls: int
    answered: int
    spent: int
    refused: int
    wrongly_refused: int
    answers_lost: int
    recorded_twice: int
    not_recorded: int
    overshoot: int
    reported: int
    peak: int
    seconds: float

    @property
    def kept(self) -> bool:
        """Nothing refused wrongly, lost, doubled or missing, and no more overshoot than allowed."""
        wrong = self.wrongly_refused or self.answers_lost or self.recorded_twice or self.not_recorded
        return not wrong and self.overshoot <= self.reported and (self.holds != "strict" or self.peak <= DOLLAR)


def fixed(calls: int) -> list[Ask]:
    return [(f"c{number}", TEN_CENTS) for number in range(calls)]


def varied(calls: int) -> list[Ask]:
    """A hundredfold: from $0.001 to $0.10, evenly by ratio, the same in every run."""
    dice = random.Random(7)
    return [(f"v{number}", int(100 * 100 ** dice.random())) for number in range(calls)]


class Caller:
    """Makes the calls of one process through the SDK, below a witness."""

    def __init__(self, place: Place, url: str, given: Given) -> None:
        self.told = Told()
        self.witness = Witness(place.ledger())
        self.guard = place.guard(
            self.witness,
            budgets=[BUDGET],
            holds=given.holds,
            hooks=[self._hear],
            wait=60.0,
            hold_lifetime=given.lifetime,
        )
        self.guard.instrument()
        self._url = url
        self._options: dict[str, Any] = {"max_tokens": TEN_CENTS} if given.ceiling else {}

    def _hear(self, event: Any) -> None:
        if isinstance(event, Refused):
            self.told.needed.append(int(event.needed * DOLLAR))

    def threads(self, asks: Sequence[Ask], at_once: int) -> None:
        client = OpenAI(base_url=self._url, api_key="none", max_retries=0)

        def call(ask: Ask) -> None:
            try:
                client.chat.completions.create(model="gpt-4o", messages=prompt(*ask), **self._options)  # type: ignore[call-overload]
            except BudgetExceeded:
                return
            self.told.answered.append(ask[0])

        with client, ThreadPoolExecutor(at_once) as pool:
            list(pool.map(call, asks))

    async def coroutines(self, asks: Sequence[Ask]) -> None:
        async with AsyncOpenAI(base_url=self._url, api_key="none", max_retries=0) as client:

            async def call(ask: Ask) -> None:
                try:
                    await client.chat.completions.create(model="gpt-4o", messages=prompt(*ask), **self._options)  # type: ignore[call-overload]
                except BudgetExceeded:
                    return
                self.told.answered.append(ask[0])

            await asyncio.gather(*(call(ask) for ask in asks))

    def end(self) -> Told:
        self.guard.flush(60)
        self.told.over = reported(self.guard)
        self.told.notes = self.witness.notes
        return self.told

    def close(self) -> None:
        self.guard.close()


def reported(guard: Guard) -> int:
    """What the library itself says that this process spent beyond its holds once the limit was reached."""
    return int(guard.overshoot * DOLLAR)


def work(place: Place, url: str, given: Given, asks: list[Ask], clock: Clock, line: Any) -> None:
    """In a process of its own."""
    wear(clock)
    if given.bridge:
        leave(line)
    caller = Caller(place, url, given)
    line.send("ready")
    line.recv()
    caller.threads(asks, len(asks))
    told = caller.end()
    caller.close()
    line.send(told)


def run(place: Place, given: Given) -> Result:
    """All these calls at once."""
    began = time.monotonic()
    with PaidProvider(pause=0.02, host=given.bridge or "127.0.0.1") as provider:
        caller = Caller(place, provider.url, given)
        if given.ways == "coroutines":
            asyncio.run(caller.coroutines(given.asks))
        elif given.ways == "threads":
            caller.threads(given.asks, given.workers)
        told = [caller.end()]
        if given.ways == "processes":
            share = len(given.asks) // given.workers
            children = [
                start(
                    work,
                    place.on_host(number) if given.bridge else place,
                    provider.url,
                    given,
                    given.asks[number * share :][:share],
                    clock,
                )
                for number, clock in zip(range(given.workers), cycle(given.clocks))
            ]
            for number, child in enumerate(children if given.bridge else ()):
                connect(child.line, number)
            for child in children:
                assert child.line.recv() == "ready"
            for child in children:
                child.line.send("go")
            told += [child.line.recv() for child in children]
            for child in children:
                child.join()
        result = _result(place, given, told, caller.guard, provider, began)
        caller.close()
    return result


def _result(place: Place, given: Given, told: list[Told], guard: Guard, provider: PaidProvider, began: float) -> Result:
    (standing,) = guard.standings()
    spent = int(standing.spent * DOLLAR)
    assert standing.held == 0, f"{standing.held} is held after everything has ended"
    entries = guard.entries(limit=100_000)
    recorded = [(entry.response_id or "").removeprefix("chatcmpl-") for entry in entries]
    assert guard.spent() == standing.spent == sum(entry.cost or Decimal(0) for entry in entries)
    answered = [name for one in told for name in one.answered]
    needed = [nanos for one in told for nanos in one.needed]
    verdict = judge([note for one in told for note in one.notes], DOLLAR)
    left = DOLLAR - spent
    assert spent == provider.nanos or set(recorded) != set(provider.sold), "the price of an answer is wrong"
    return Result(
        store=place.name,
        scenario=given.scenario,
        holds=given.holds,
        calls=len(given.asks),
        answered=len(answered),
        spent=spent,
        refused=len(needed),
        wrongly_refused=max(verdict.wrongly, sum(nanos <= left for nanos in needed)),
        answers_lost=len(provider.sold.keys() - set(answered)),
        recorded_twice=len(recorded) - len(set(recorded)),
        not_recorded=len(provider.sold.keys() - set(recorded)),
        overshoot=max(0, spent - DOLLAR),
        reported=sum(one.over for one in told),
        peak=verdict.peak,
        seconds=time.monotonic() - began,
    )
