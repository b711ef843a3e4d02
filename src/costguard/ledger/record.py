"""An entry as a row of `costguard_entries`, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from costguard.adjustment import Adjustment
from costguard.errors import ConfigError
from costguard.events import Entry
from costguard.ledger.response_ids import pack, unpack
from costguard.pricing.rates import Rates
from costguard.pricing.usage import BUCKETS, INPUT_BUCKETS, OUTPUT_BUCKETS, Usage
from costguard.tags import Tags

STATUSES = ("ok", "error", "cancelled", "closed", "pending", "lost", "adjusted")
"""`entries.status` is the place of the status in this row; only ever append."""

PENDING, LOST = STATUSES.index("pending"), STATUSES.index("lost")
NUMBER_OF = {status: number for number, status in enumerate(STATUSES)}

COLUMNS = (
    "call_id", "at", "model_id", "tags_id", "price_id", "cost", "input_tokens", "output_tokens",
    "cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "buckets", "status", "estimated",
    "streamed", "attempts", "held", "duration", "response_id", "reason", "keys",
)  # fmt: skip

EPOCH = 1_893_456_000_000_000
"""2030, in microseconds since 1970. Where space counts moments are kept as their distance from it, in six bytes until
2034 and in eight from then on; the table's column `at` is made of them."""

_FURTHEST = 10**15
"""Of such a distance. What is larger is microseconds since 1970 to the table, so later times (2061) are written so."""

_MOMENT = f"(SELECT CASE WHEN m > {_FURTHEST} THEN m + {EPOCH} ELSE m END FROM (SELECT ? - {EPOCH} AS m))"

_TOLD = ("input", "output", "cache_read", "cache_write_5m")


def stored(names: Sequence[str], *, packs: bool) -> tuple[list[str], list[str]]:
    """The names of columns as they are written, and the marks for their values; `packs`: see `Driver`."""
    if not packs:
        return list(names), ["?"] * len(names)
    return (
        ["moment" if name == "at" else name for name in names],
        [_MOMENT if name == "at" else "?" for name in names],
    )


def insert(*, packs: bool) -> str:
    """The statement that makes a row of the values of `write_entry`, unless there is one of this call."""
    names, marks = stored(COLUMNS, packs=packs)
    return (
        f"INSERT INTO costguard_entries ({', '.join(names)}) VALUES ({', '.join(marks)}) "
        "ON CONFLICT (call_id) DO NOTHING"
    )


def call_key(call_id: str) -> bytes:
    """The sixteen bytes of a call id."""
    try:
        key = bytes.fromhex(call_id.replace("-", ""))
    except ValueError:
        key = b""
    if len(key) != 16:
        raise ConfigError(f"call id {call_id!r} is not a UUID; costguard.call.new_call_id() makes one")
    return key


def clean(text: str | None) -> str | None:
    """Text that every database can store: no lone surrogates, and no NUL, which PostgreSQL refuses."""
    if text is None or (text.isascii() and "\x00" not in text):
        return text
    return text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")


def write_entry(  # noqa: PLR0917 - the hot path gives them by position
    entry: Entry, model_id: int, tags_id: int, price_id: int | None, keys: str | None, packs: bool = False
) -> tuple[Any, ...]:
    """The values of `COLUMNS`; `packs`: see `Driver`."""
    usage = entry.usage
    buckets = usage.buckets
    get = buckets.get
    tokens_in, tokens_out = get("input", 0), get("output", 0)
    read, write = get("cache_read", 0), get("cache_write_5m", 0)
    rest = None
    if len(buckets) > (tokens_in > 0) + (tokens_out > 0) + (read > 0) + (write > 0):
        others = {name: count for name, count in buckets.items() if name not in _TOLD}
        rest = json.dumps(others, separators=(",", ":")) if others else None
        tokens_in, tokens_out, read, write = (
            usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.cache_write_tokens,
        )  # fmt: skip
    else:
        tokens_in += read + write
    response_id = clean(entry.response_id)
    return (
        call_key(entry.call_id), entry.at_ns // 1000, model_id, tags_id, price_id, entry.nanos, tokens_in, tokens_out,
        read, write, usage.reasoning_tokens, rest, NUMBER_OF[entry.status], int(entry.estimated), int(entry.streamed),
        entry.attempts, entry.held_nanos, entry.duration_ns // 1000, pack(response_id) if packs else response_id,
        clean(entry.reason), keys,
    )  # fmt: skip


def read_entry(row: Mapping[Any, Any], model: tuple[str, str, str], tags: Tags, rates: Rates | None) -> Entry:
    """`model` is provider, model and operation."""
    if row["adjusts"] is not None:
        return Adjustment(
            str(UUID(bytes=bytes(row["call_id"]))), row["at"] * 1000, *model, row["cost"], rates,
            adjusts=str(UUID(bytes=bytes(row["adjusts"]))), covers=row["covers"], estimated=bool(row["estimated"]),
            tags=tags, reason=row["reason"],
        )  # fmt: skip
    return Entry(
        str(UUID(bytes=bytes(row["call_id"]))),
        row["at"] * 1000,
        *model,
        nanos=row["cost"],
        usage=_usage(row),
        rates=rates,
        status=STATUSES[row["status"]],  # type: ignore[arg-type]  # the same words
        estimated=bool(row["estimated"]),
        streamed=bool(row["streamed"]),
        attempts=row["attempts"],
        tags=tags,
        held_nanos=row["held"],
        duration_ns=row["duration"] * 1000,
        response_id=unpack(row["response_id"]),
        reason=row["reason"],
    )


def _usage(row: Mapping[Any, Any]) -> Usage:
    others: dict[str, int] = json.loads(row["buckets"]) if row["buckets"] else {}
    read = row["cache_read_tokens"] - others.get("cache_read_audio", 0) - others.get("cache_read_image", 0)
    write = row["cache_write_tokens"] - others.get("cache_write_1h", 0)
    told = {
        "input": row["input_tokens"] - read - write - sum(others.get(name, 0) for name in INPUT_BUCKETS),
        "cache_read": read,
        "cache_write_5m": write,
        "output": row["output_tokens"] - sum(others.get(name, 0) for name in OUTPUT_BUCKETS),
    }
    counts = told | others
    return Usage.trusted({name: counts[name] for name in BUCKETS if counts.get(name)}, row["reasoning_tokens"])
