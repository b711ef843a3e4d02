"""The books of the ledger in memory."""

from __future__ import annotations

from threading import Lock

from costguard.adjustment import ADJUSTED
from costguard.budgets import Limit
from costguard.events import Entry
from costguard.ledger.audit import Audit, Books, Expired
from costguard.ledger.memory_holds import Held


class MemoryAudit:
    _lock: Lock
    _limits: dict[str, Limit]
    _balances: dict[str, list[int]]
    _entries: dict[str, Entry]
    _charged: dict[str, list[tuple[Limit, int]]]
    _holds: dict[str, Held]
    _kept_from: int | None

    def audit(self, now_ns: int, *, repair: bool) -> Audit:
        """See `costguard.ledger.audit.audit`."""
        with self._lock:
            found = self._books(now_ns).close(repaired=repair)
            if repair:
                for one in found.differences:
                    self._balances[one.key] = [one.spent_entries, one.held_rows]
            return found

    def _books(self, now_ns: int) -> Books:
        found = Books(kept_from=None if self._kept_from is None else self._kept_from // 1000)
        for key, (spent, held) in self._balances.items():
            found.balances[key] = (self._limits[key], spent, held)
        windows = {(one.start // 1000, None if one.end is None else one.end // 1000) for one in self._limits.values()}
        for entry in self._entries.values():
            if entry.call_id in self._charged:
                found.charge({limit.key: charge for limit, charge in self._charged[entry.call_id]})
                continue
            at = entry.at_ns // 1000
            tokens = entry.usage.input_tokens + entry.usage.output_tokens
            counts = (entry.nanos or 0, tokens, int(entry.status not in ("error", ADJUSTED) and entry.attempts > 0))
            for start, until in windows:
                if start <= at and (until is None or at < until):
                    found.counted.setdefault((start, until), []).append((entry.tags, counts))
        for call_id, row in self._holds.items():
            found.hold({limit.key: amount for limit, amount in row.parts})
            if row.expires_ns <= now_ns:
                keys = tuple([limit.key for limit, _ in row.parts])
                amount = row.left if row.lease else row.money
                found.expired.append(Expired(call_id, row.call.tags, keys, amount, row.expires_ns, row.lease))
        return found
