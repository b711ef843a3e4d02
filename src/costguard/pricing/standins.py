"""Which rate counts for a bucket that has none of its own."""

from __future__ import annotations

from collections.abc import Mapping

from costguard.pricing.usage import BUCKETS

REASONING = "reasoning"
"""Pseudo bucket of the few models whose reasoning tokens have a price unlike that of other output."""

# Where a bucket without a rate of its own finds one: (bucket, whether that is what the provider charges).
# Cached and written tokens are input tokens that happen to be (un)discounted, and vision models meter
# images as text. Audio, generated media and writes kept for an hour are known to cost more than that:
# the amount counts as the least it can be, and the bucket as missing.
STAND_INS: dict[str, tuple[tuple[str, bool], ...]] = {
    "cache_read": (("input", True),),
    "cache_write_5m": (("input", True),),
    "cache_write_1h": (("cache_write_5m", False), ("input", True)),
    "input_audio": (("input", False),),
    "cache_read_audio": (("input_audio", True), ("cache_read", False), ("input", False)),
    "input_image": (("input", True),),
    "cache_read_image": (("input_image", True), ("cache_read", True), ("input", True)),
    "input_video": (("input", True),),
    "output_audio": (("output", False),),
    "output_image": (("output", False),),
    "output_video": (("output", False),),
    REASONING: (("output", True),),
    "groundings": (("web_searches", True),),
}


def complete(rates: Mapping[str, int]) -> tuple[dict[str, int], frozenset[str], frozenset[str]]:
    """A rate for every bucket; the buckets whose rate is not what is charged; those that have none at all."""
    table = dict(rates)
    lacking, bare = set(), set()
    for name in (*BUCKETS, REASONING):
        if name in rates:
            continue
        for other, charged in STAND_INS.get(name, ()):
            if other in rates:
                table[name] = rates[other]
                if not charged:
                    lacking.add(name)
                break
        else:
            table[name] = 0
            lacking.add(name)
            bare.add(name)
    return table, frozenset(lacking), frozenset(bare)
