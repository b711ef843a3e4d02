"""Our prices beside another price list's, bucket by bucket: `python -m benchmarks.prices [FILE] [--all]`.

FILE: a price list in any shape that costguard reads, such as LiteLLM's model_prices_and_context_window.json; by
default the one of the installed package `litellm`, or of `tokencost`. Both lists are hand-kept copies of the
providers' pages, so that a difference is a mistake in one of them, and equal prices are a strong sign.
"""

from __future__ import annotations

import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from costguard.pricing import catalog
from costguard.pricing.book import PriceBook
from costguard.pricing.price_file import read_prices
from costguard.pricing.rates import FOREVER, Rates
from costguard.pricing.rules import asked
from costguard.pricing.table import Table

PROVIDERS = ("openai", "anthropic", "google")
CONTEXTS: tuple[tuple[tuple[str, str], ...], ...] = (
    (), (("batch", "true"),), (("service_tier", "flex"),), (("service_tier", "priority"),),
    (("inference_geo", "us"),),
)  # fmt: skip
BUCKETS = (
    "input", "cache_read", "cache_write_5m", "cache_write_1h", "input_audio", "cache_read_audio", "input_image",
    "output", "output_audio", "output_image", "seconds", "characters", "web_searches",
)  # fmt: skip
BUNDLED = (("litellm", "model_prices_and_context_window_backup.json"), ("tokencost", "model_prices.json"))


EXPLAINED = (
    (r"openai/gpt-4(o|\.1)(?!.*search-preview).* web_searches", "$25 is the preview of the tool, see `rules.fees`"),
    (r"openai/gpt-4o(-mini)?-transcribe.* input_audio", "audio tokens are $6 and $3, text tokens 2.50 and 1.25"),
    (r"openai/gpt-4o-mini-tts.* output", "all it puts out is audio, $12"),
    (r"openai/gpt-image.* batch, output_image", "a batch halves images too; the other list has no such field for them"),
    (r"openai/gpt-5\.5-pro.* batch, .* above", "our list has no long calls in its batch prices"),
    (r"openai/gpt-5\.6-cyber.* above", "our list has no long calls for it"),
    (r"anthropic/.* batch, cache_write_1h", "a batch halves all writes; the other list has no such field for 1 h"),
    (r"anthropic/claude-sonnet-4-5.* above 200,000", "calls above 200k exist only in the beta that costs more"),
    (r"google/gemini-.* flex, .* above", "the other list has no long calls in its flex prices"),
    (r"google/gemini-.*lite.* priority, cache_read", "1.8 times the standard price, which the other list rounds"),
    (r"google/.*(tts|image|lite-preview).* (batch|flex|priority), .*(audio|image)", "the other list lacks the field"),
    (r"google/gemini-2\.5-(flash|pro)-tts batch", "the other list has no batch for this name"),
    (r"google/gemini-(flash|flash-lite|pro)-latest batch", "the name moved on to another model"),
    (r"google/gemini-2\.[05].*-?(image|tts)?.* input_audio", "takes no audio, or at Vertex AI's price"),
    (
        r"google/(gemini-2\.0-flash|gemini-2\.0-flash-exp.*|claude-3-5-haiku.*|gemma-.*)( priority)?, ",
        "Vertex AI's or an older price",
    ),
)
"""Differences that were looked into: an expression for the line, and what is behind it."""


class Line(NamedTuple):
    """One price of one model; `ours` and `theirs` in USD per million (units: each), None where there is none."""

    provider: str
    model: str
    context: str
    bucket: str
    above: int
    ours: str | None
    theirs: str | None

    @property
    def verdict(self) -> str:
        if self.ours is None or self.theirs is None:
            return "only here" if self.theirs is None else "only there"
        return "equal" if self.ours == self.theirs else "differing"

    @property
    def text(self) -> str:
        above = f" above {self.above:,}" if self.above >= 0 else ""
        return f"{self.provider}/{self.model} {self.context}".rstrip() + f", {self.bucket}{above}"

    @property
    def reason(self) -> str:
        return next((why for pattern, why in EXPLAINED if re.match(pattern, self.text)), "")


def compare(table: Table) -> Iterator[Line]:
    """Every price that both lists could have, of the models that either has."""
    now = time.time_ns()
    book = PriceBook()
    for provider in PROVIDERS:
        names = set(table.names_of(provider)) | set(catalog.names(provider))
        for model in sorted(names):
            for context in CONTEXTS:
                here = book.rates(provider, model, now, context)
                there = table.find((provider,), (model,), now, context).rates
                if here is None and there is None:
                    continue
                yield from _lines(provider, model, context, here, there)


def _lines(
    provider: str, model: str, context: tuple[tuple[str, str], ...], here: Rates | None, there: Rates | None
) -> Iterator[Line]:
    label = ",".join(asked(provider, context).values())
    # A context that one of them does not know is standard there, and marked: nothing to compare.
    here, there = (None if rates is not None and rates.unknown else rates for rates in (here, there))
    starts = sorted({start for rates in (here, there) if rates for start, _ in rates.tiers} | {-1})
    for start in starts:
        for bucket in BUCKETS:
            ours, theirs = (_price(rates, bucket, start) for rates in (here, there))
            if ours is not None or theirs is not None:
                yield Line(provider, model, label, bucket, start, ours, theirs)


def _price(rates: Rates | None, bucket: str, start: int) -> str | None:
    if rates is None:
        return None
    level = dict(rates.rates)
    for above, changed in rates.tiers:
        if above <= start < FOREVER:
            level.update(changed)
    if bucket not in level:
        return None
    # Six digits: lists round prices per second.
    return f"{level[bucket] / 10**rates.scale / rates.share * 1e6:.6g}"


def bundled() -> Path | None:
    """The list of another price library that is installed here."""
    for package, name in BUNDLED:
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            if (path := Path(folder) / name).exists():
                return path
    return None


def main(arguments: list[str]) -> int:
    """Print the comparison; 0 if every difference has an explanation."""
    given = [argument for argument in arguments if not argument.startswith("--")]
    path = Path(given[0]) if given else bundled()
    if path is None:
        print("no second price list: pip install litellm, or give a file")
        return 2
    table, shape = read_prices(path.read_bytes(), path.name)
    lines = list(compare(table))
    counts = Counter((line.provider, line.verdict) for line in lines)
    print(f"{path.name} ({shape}, {len(table)} entries) beside ours")
    for provider in PROVIDERS:
        verdicts = ("equal", "differing", "only here", "only there")
        print(f"  {provider:10}", "  ".join(f"{counts[provider, verdict]:6,} {verdict}" for verdict in verdicts))
    differing = [line for line in lines if line.verdict == "differing"]
    for why in dict.fromkeys(line.reason for line in differing if line.reason):
        of = [line for line in differing if line.reason == why]
        print(f"  {len(of):3} differ: {why}; such as {of[0].text}: ours {of[0].ours}, theirs {of[0].theirs}")
    unexplained = [line for line in differing if not line.reason]
    for line in [*unexplained, *(line for line in lines if "--all" in arguments and line.verdict != "equal")]:
        print(f"  {line.verdict}: {line.text}: ours {line.ours}, theirs {line.theirs}")
    print(f"  {len(unexplained)} differences without an explanation")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
