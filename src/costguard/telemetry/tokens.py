"""The tokens of a usage as telemetry tells them, in one pass over its buckets."""

from __future__ import annotations

from costguard.pricing.usage import INPUT_BUCKETS, OUTPUT_BUCKETS, Usage

_INPUT, _OUTPUT = frozenset(INPUT_BUCKETS), frozenset(OUTPUT_BUCKETS)
_READ = frozenset(name for name in INPUT_BUCKETS if name.startswith("cache_read"))
_WRITTEN = frozenset(name for name in INPUT_BUCKETS if name.startswith("cache_write"))

KINDS = ("input", "output", "cache_read", "cache_write", "reasoning")


def tokens_of(usage: Usage) -> tuple[int, int, int, int, int]:
    """Counts of `KINDS`: all input, all output, and of these what was read from a cache, written to it, reasoned."""
    given = answered = read = written = 0
    for name, count in usage.buckets.items():
        if name in _OUTPUT:
            answered += count
        elif name in _INPUT:
            given += count
            if name in _READ:
                read += count
            elif name in _WRITTEN:
                written += count
    return given, answered, read, written, usage.reasoning_tokens
