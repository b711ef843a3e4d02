"""What a call consumed, in disjoint buckets that a price multiplies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from costguard.errors import ConfigError

INPUT_BUCKETS = (
    "input", "cache_read", "cache_write_5m", "cache_write_1h",
    "input_audio", "cache_read_audio", "input_image", "cache_read_image", "input_video",
)  # fmt: skip
OUTPUT_BUCKETS = ("output", "output_audio", "output_image", "output_video")
UNIT_BUCKETS = (
    "seconds", "characters", "images", "pages", "search_units", "requests",
    "web_searches", "file_searches", "code_executions", "groundings",
)  # fmt: skip
BUCKETS = INPUT_BUCKETS + OUTPUT_BUCKETS + UNIT_BUCKETS
"""Every bucket: tokens in, tokens out (reasoning included in `output`), then other units."""


class Usage:
    """What a call consumed.

    Built from totals, as providers report them (cached tokens are part of the input total)::

        Usage(input_tokens=12_000, cache_read_tokens=9_000, output_tokens=2_500, reasoning_tokens=2_100)

    or from the disjoint buckets themselves with `Usage.of({"input": 3_000, "cache_read": 9_000, ...})`.

    buckets:           bucket name to count, zeros left out; nothing is counted in two buckets
    reasoning_tokens:  how many of the output tokens were reasoning

    Raises ConfigError for a negative count, an unknown bucket, or parts that exceed their total.
    """

    __slots__ = ("buckets", "reasoning_tokens")

    buckets: dict[str, int]
    reasoning_tokens: int

    def __init__(
        self,
        *,
        input_tokens: int = 0,
        output_tokens: int = 0,
        cache_read_tokens: int = 0,
        cache_write_tokens: int = 0,
        cache_write_1h_tokens: int = 0,
        reasoning_tokens: int = 0,
        audio_input_tokens: int = 0,
        audio_output_tokens: int = 0,
        image_input_tokens: int = 0,
        image_output_tokens: int = 0,
        **units: int,
    ) -> None:
        """Counts of tokens; `units` are other buckets such as `seconds=90` or `web_searches=2`.

        `cache_write_tokens` is the total of writes, `cache_write_1h_tokens` of them kept for an hour.
        """
        parts = {
            "input": input_tokens - cache_read_tokens - cache_write_tokens - audio_input_tokens - image_input_tokens,
            "cache_read": cache_read_tokens,
            "cache_write_5m": cache_write_tokens - cache_write_1h_tokens,
            "cache_write_1h": cache_write_1h_tokens,
            "input_audio": audio_input_tokens,
            "input_image": image_input_tokens,
            "output": output_tokens - audio_output_tokens - image_output_tokens,
            "output_audio": audio_output_tokens,
            "output_image": image_output_tokens,
            **units,
        }
        if parts["input"] < 0 or parts["output"] < 0 or parts["cache_write_5m"] < 0:
            raise ConfigError(
                f"the parts of a usage exceed their total: {input_tokens} input tokens with "
                f"{cache_read_tokens} cached, {cache_write_tokens} written, {audio_input_tokens} audio, "
                f"{image_input_tokens} image; {output_tokens} output tokens with {audio_output_tokens} audio, "
                f"{image_output_tokens} image"
            )
        made = Usage.of(parts, reasoning_tokens=reasoning_tokens)
        self.buckets = made.buckets
        self.reasoning_tokens = made.reasoning_tokens

    @classmethod
    def of(cls, buckets: Mapping[str, int], *, reasoning_tokens: int = 0) -> Usage:
        """A usage from disjoint buckets (see `BUCKETS`)."""
        for name, count in buckets.items():
            if name not in BUCKETS:
                raise ConfigError(f"usage bucket {name!r} is not known; the buckets are {', '.join(BUCKETS)}")
            if isinstance(count, bool) or not isinstance(count, int) or count < 0:
                raise ConfigError(f"usage bucket {name!r} is {count!r}; counts are whole numbers, zero or more")
        return cls.trusted({name: count for name, count in buckets.items() if count}, reasoning_tokens)

    @classmethod
    def read(cls, counts: Mapping[str, int]) -> Usage:
        """A usage from names and counts: of totals (`input_tokens`, ...) if there are any, else of buckets."""
        return cls(**counts) if any(name.endswith("_tokens") for name in counts) else cls.of(counts)

    @classmethod
    def trusted(cls, buckets: dict[str, int], reasoning_tokens: int = 0) -> Usage:
        """A usage from buckets already known to be valid and above zero: the hot path's way."""
        usage = cls.__new__(cls)
        usage.buckets = buckets
        usage.reasoning_tokens = reasoning_tokens
        return usage

    def _sum(self, names: tuple[str, ...]) -> int:
        return sum(self.buckets.get(name, 0) for name in names)

    @property
    def input_tokens(self) -> int:
        """All input tokens: cached, written, audio and image ones included."""
        return self._sum(INPUT_BUCKETS)

    @property
    def output_tokens(self) -> int:
        """All output tokens: reasoning, audio and image ones included."""
        return self._sum(OUTPUT_BUCKETS)

    @property
    def cache_read_tokens(self) -> int:
        return self._sum(("cache_read", "cache_read_audio", "cache_read_image"))

    @property
    def cache_write_tokens(self) -> int:
        return self._sum(("cache_write_5m", "cache_write_1h"))

    @property
    def cache_write_1h_tokens(self) -> int:
        return self.buckets.get("cache_write_1h", 0)

    @property
    def audio_input_tokens(self) -> int:
        return self._sum(("input_audio", "cache_read_audio"))

    @property
    def audio_output_tokens(self) -> int:
        return self.buckets.get("output_audio", 0)

    @property
    def image_input_tokens(self) -> int:
        return self._sum(("input_image", "cache_read_image"))

    @property
    def image_output_tokens(self) -> int:
        return self.buckets.get("output_image", 0)

    def __eq__(self, other: Any) -> bool:
        if not isinstance(other, Usage):
            return NotImplemented
        return self.buckets == other.buckets and self.reasoning_tokens == other.reasoning_tokens

    def __hash__(self) -> int:
        return hash((frozenset(self.buckets.items()), self.reasoning_tokens))

    def __repr__(self) -> str:
        parts = [f"{name}={count}" for name, count in self.buckets.items()]
        if self.reasoning_tokens:
            parts.append(f"reasoning_tokens={self.reasoning_tokens}")
        return f"Usage({', '.join(parts)})"


NO_USAGE = Usage.trusted({})
