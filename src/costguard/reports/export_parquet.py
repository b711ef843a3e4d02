"""Entries as a Parquet file, by pyarrow: a page of entries is a row group, and nothing more is in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from importlib import import_module
from typing import IO, Any

from costguard.errors import MissingExtra
from costguard.money import from_nanos, to_nanos
from costguard.reports.export_rows import COLUMNS

_TEXTS = {"call_id", "provider", "model", "operation", "status", "currency"}
_AMOUNTS = {"cost", "held"}
_TRUTHS = {"estimated", "streamed"}
_COUNTS = {
    "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "attempts",
    "duration_ms",
}  # fmt: skip


def require() -> None:
    """Raises MissingExtra without pyarrow."""
    _pyarrow()


def _pyarrow(part: str = "") -> Any:
    # By name: it has no types.
    try:
        return import_module(f"pyarrow{part}")
    except ImportError:
        raise MissingExtra("pyarrow", "export", "a Parquet file") from None


def schema() -> Any:
    """Amounts are decimal128(27, 9), USD; `at` is a timestamp in UTC; `tags` and `buckets` are maps."""
    pa = _pyarrow()
    kinds: dict[str, Any] = {
        "at": pa.timestamp("us", tz="UTC"),
        "buckets": pa.map_(pa.string(), pa.int64()),
        "tags": pa.map_(pa.string(), pa.string()),
        **dict.fromkeys(_AMOUNTS, pa.decimal128(27, 9)),
        **dict.fromkeys(_TRUTHS, pa.bool_()),
        **dict.fromkeys(_COUNTS, pa.int64()),
    }
    return pa.schema([
        pa.field(name, kinds.get(name, pa.string()), nullable=name == "cost" or name not in {*kinds, *_TEXTS})
        for name in COLUMNS
    ])  # fmt: skip


def write(pages: Iterable[list[Mapping[str, Any]]], out: IO[bytes]) -> None:
    """Write rows (see `export_rows.row`), a list of them at a time. Raises MissingExtra without pyarrow."""
    pa, parquet, shape = _pyarrow(), _pyarrow(".parquet"), schema()
    with parquet.ParquetWriter(out, shape, compression="zstd") as writer:
        for page in pages:
            columns = [
                pa.array([_value(name, values[name]) for values in page], type=field.type)
                for name, field in zip(COLUMNS, shape, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=shape))


def _value(name: str, value: Any) -> Any:
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, Decimal):
        # As many places as the column has.
        return from_nanos(to_nanos(value))
    if isinstance(value, dict):
        return [(_text(key), _text(one)) for key, one in sorted(value.items())]
    return _text(value)


def _text(value: Any) -> Any:
    """What cannot be encoded is no text in Parquet."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
