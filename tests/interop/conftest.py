"""What every file here shares. Imported by the main suite and in the environments of tests/matrix.txt alike."""

from __future__ import annotations

import os
from collections.abc import Iterator
from decimal import Decimal

import pytest

from costguard import Entry, Guard, Refused, Settled, tagged
from tests.interop.server import CACHE_READ, EMBEDDED, GEMINI_MODEL, INPUT, OUTPUT, REASONING, Server

TOO_SMALL = "$0.000000001/ever"
CHAT_MODEL, CLAUDE_MODEL, EMBEDDING_MODEL = "gpt-4o", "claude-haiku-4-5", "text-embedding-3-small"
COSTS = {
    CHAT_MODEL: Decimal("0.004"),  # 600 x $2.50 + 400 cached x $1.25 + 200 x $10, per million
    CLAUDE_MODEL: Decimal("0.00164"),  # 600 x $1 + 400 cached x $0.10 + 200 x $5
    GEMINI_MODEL: Decimal("0.000692"),  # 600 x $0.30 + 400 cached x $0.03 + 200 x $2.50
    EMBEDDING_MODEL: Decimal("0.00000024"),  # 12 x $0.02
}


class Books:
    """The ledger beside what the provider says it was asked. `refusals`: the decisions against a call."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.refusals: list[Refused] = []
        self.guard = Guard("memory://", budgets=["$5/day per user"], hooks=[self._hear])

    def _hear(self, event: Settled | Refused) -> None:
        if isinstance(event, Refused):
            self.refusals.append(event)

    def entries(self) -> list[Entry]:
        return self.guard.entries()[::-1]

    def refuse(self) -> None:
        """From now on no call fits a budget."""
        self.guard.close()
        self.guard = Guard("memory://", budgets=[TOO_SMALL], holds="strict", wait=0, hooks=[self._hear])
        self.guard.instrument()

    def assert_one_entry_per_request(self, calls: int = 1) -> None:
        """Each HTTP request is one entry of alice's, with the usage that was reported and its exact cost."""
        entries = self.entries()
        assert len(self.server.asked) == len(entries) == calls
        for entry, (_, body) in zip(entries, self.server.asked, strict=True):
            usage = entry.usage
            assert (entry.status, entry.estimated, entry.attempts) == ("ok", False, 1)
            asked = entry.model if "contents" in body else body["model"]
            assert (entry.model, entry.streamed) == (asked, body.get("stream", entry.streamed))
            assert entry.tags["user"] == "alice"
            assert entry.cost == COSTS[entry.model]
            if entry.model == EMBEDDING_MODEL:
                assert (usage.input_tokens, usage.output_tokens) == (EMBEDDED, 0)
            else:
                reasoning = 0 if entry.provider == "anthropic" else REASONING
                assert (usage.input_tokens, usage.output_tokens) == (INPUT, OUTPUT)
                assert (usage.cache_read_tokens, usage.reasoning_tokens) == (CACHE_READ, reasoning)
        (standing,) = self.guard.standings(user="alice")
        assert (standing.spent, standing.held) == (sum(COSTS[entry.model] for entry in entries), 0)

    def assert_refused_once(self) -> None:
        """One decision, no request, nothing recorded, nothing left held."""
        assert len(self.refusals) == 1
        assert self.server.asked == []
        assert self.entries() == []
        assert self.guard.standings()[0].held == 0


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in [name for name in os.environ if name.lower().endswith("_proxy") or name.endswith("_BASE_URL")]:
        monkeypatch.delenv(name)
    with Server() as server:
        yield server


@pytest.fixture
def books(server: Server) -> Iterator[Books]:
    """An instrumented guard with a budget that is never reached, in a request of alice's."""
    books = Books(server)
    books.guard.instrument()
    with tagged(user="alice"):
        yield books
    books.guard.close()
