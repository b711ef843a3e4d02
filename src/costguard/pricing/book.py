"""The price of every model: the user's own prices, then the shipped list."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from costguard.errors import ConfigError
from costguard.pricing import additions, catalog, rules
from costguard.pricing.ages import Ages, StalePrices
from costguard.pricing.naming import canonical, normalised, plain
from costguard.pricing.overrides import Overrides
from costguard.pricing.rates import FOREVER, Rates
from costguard.pricing.receipt import Receipt
from costguard.pricing.refresh import Refresher
from costguard.pricing.table import Context, Found, PriceList
from costguard.pricing.usage import Usage

if TYPE_CHECKING:
    from costguard.pricing.source import PriceSource, Source

__all__ = ["PriceBook", "Rates"]

MAX_KNOWN = 4_096
MAX_UNKNOWN = 1_024
LONGEST_NAME = 256
"""Characters of a model name that is looked up at all: names come from users."""

_Key: TypeAlias = tuple[str, str, Context]


class PriceBook:
    """Rates by provider, model and moment. Thread-safe, and safe over fork: its look-ups have no lock.

    prices:   the user's own as a mapping (see `Overrides`), the path of a price list, its https address, or a list
              of these: the first that has a model counts, and the shipped list comes after all of them
    refresh:  seconds between two looks for changed files and addresses; None: files are read once, addresses fetched
              once, by `start`
    told:     hears of price lists that are 45 days old

    A model is looked for by its name, then by its name without region, version and date.
    Model names may come from users, so that both caches are bounded: a full one is thrown away as a whole.

    Raises ConfigError for prices that cannot be read, with a line for each thing that is wrong.
    """

    def __init__(
        self,
        prices: PriceSource | Sequence[PriceSource] | None = None,
        *,
        refresh: float | None = None,
        told: Callable[[StalePrices], object] | None = None,
    ) -> None:
        if refresh is not None and (isinstance(refresh, bool) or not isinstance(refresh, (int, float)) or refresh < 1):
            raise ConfigError(f"refresh is {refresh!r}; give seconds between two looks for new prices, at least 1")
        self._lists = _sources(prices)
        # Files and addresses.
        self._changing = [cast("Source", source) for source in self._lists if hasattr(source, "look")]
        for source in self._changing:
            source.start()
        self._refresher = Refresher(self._changing, refresh, self._looked)
        self.ages = Ages(told)
        self._forget()

    def _forget(self) -> None:
        # Replaced as a whole: who looks something up at this moment writes into the old ones.
        self._known: dict[_Key, tuple[int, int, Rates]] = {}
        self._unknown: dict[tuple[str, str], tuple[int, int]] = {}
        self._dearest: dict[str, tuple[int, int, Rates | None]] = {}

    def warm(self) -> None:
        """Import the price list now: half a second that the first call would wait for otherwise."""
        catalog.source()

    def start(self) -> None:
        """Fetch what has to be fetched, and look for changes, in a thread of its own. Idempotent."""
        self._refresher.start()

    def look(self) -> list[str]:
        """Look for changes of prices now; a line for each source that could not be read, whose prices stay."""
        return self._refresher.look(newest=True)

    def close(self, timeout: float = 1.0) -> None:
        """Stop looking for changes; the prices stay, and `start` looks again. Idempotent."""
        self._refresher.close(timeout)

    def _looked(self, renewed: bool) -> None:
        if renewed:
            self._forget()
        self.ages.look(self.dated())

    def rates(self, provider: str, model: str, at_ns: int, context: Context = ()) -> Rates | None:
        """The rates of a model at a moment (nanoseconds since 1970), None where no price is known.

        context: what else the price depends on, sorted pairs such as (("service_tier", "flex"),),
            (("batch", "true"),) or (("inference_geo", "us"),). What should change the price and is in no
            list gives the standard rates with `Rates.unknown` naming it, never silently the standard price.
        """
        key = (provider, model, context)
        known = self._known
        found = known.get(key)
        if found is not None and found[0] <= at_ns < found[1]:
            return found[2]
        unknown = self._unknown
        bounds = unknown.get((provider, model))
        if (bounds is not None and bounds[0] <= at_ns < bounds[1]) or len(model) > LONGEST_NAME:
            return None
        rates, first, end = self._find(provider, model, at_ns, context)
        if rates is None:
            if len(unknown) >= MAX_UNKNOWN:
                self._unknown = unknown = {}
            unknown[provider, model] = (first, end)
            return None
        wanted = rules.asked(canonical(provider), context) if context else {}
        if wanted:
            # Kept with the calls that it prices, so that they can be priced anew.
            rates = rates.changed(context=wanted.items())
        if len(known) >= MAX_KNOWN:
            self._known = known = {}
        known[key] = (first, end, rates)
        if time.time_ns() >= self.ages.next_ns:
            self.ages.look(self.dated())
        return rates

    def without(self, provider: str, model: str, context: Context) -> Rates | None:
        """What to keep with a call that has no price, to look for one with later; None where nothing is special."""
        wanted = rules.asked(canonical(provider), context) if context else {}
        return Rates(provider, model, "none", {}, context=wanted.items()) if wanted else None

    @property
    def kept(self) -> int:
        """How many look-ups are remembered, at most MAX_KNOWN + MAX_UNKNOWN."""
        return len(self._known) + len(self._unknown)

    @property
    def lists(self) -> tuple[PriceList, ...]:
        """Where prices come from, before the shipped list; the first that has a model counts."""
        return self._lists

    def dated(self) -> list[tuple[str, int | None]]:
        """The lists and when they were written or fetched, nanoseconds since 1970; None: not known."""
        return [*((each.name, each.dated_ns) for each in self._changing), (catalog.source(), catalog.dated_ns())]

    def receipt(self, provider: str, model: str, usage: Usage, at_ns: int, context: Context = ()) -> Receipt:
        """The arithmetic of one cost. A model without a price has cost None and a reason, never an error."""
        rates = self.rates(provider, model, at_ns, context)
        if rates is not None:
            return rates.receipt(usage)
        return Receipt(provider, model, (), None, "none", tuple(usage.buckets), self.reason(provider, model))

    def reason(self, provider: str, model: str) -> str:
        """Why a model has no price, with the way out."""
        near = self.near(provider, model)
        hint = f"; known are {', '.join(near)}" if near else ""
        name = model if len(model) <= LONGEST_NAME else f"{model[:LONGEST_NAME]}..."
        return (
            f"no price is known for {provider}/{name}{hint}; give one with Guard(prices={{'{provider}/{name}': ...}})"
        )

    def dearest(self, provider: str, at_ns: int) -> Rates | None:
        """The highest text rates that a provider has for any model, taken apart by bucket.

        For a model without a price, where it is to be assumed that it costs no more than the dearest known one.
        None for a provider that is in no list.
        """
        dearest = self._dearest
        found = dearest.get(provider)
        if found is not None and found[0] <= at_ns < found[1]:
            return found[2]
        known = list(self._of_provider(provider, at_ns))
        textual = [rates for rates in known if "input" in rates.rates and "output" in rates.rates]
        rates = _highest(provider, textual) if textual else None
        bounds = [_bounds(each) for each in textual]
        start = max((start for start, _ in bounds), default=-FOREVER)
        end = min((end for _, end in bounds), default=FOREVER)
        if len(dearest) >= MAX_UNKNOWN:
            self._dearest = dearest = {}
        dearest[provider] = (start, end, rates)
        return rates

    def near(self, provider: str, model: str) -> list[str]:
        """Names with a price that look like this one, the most alike first."""
        from difflib import get_close_matches

        if len(model) > LONGEST_NAME:
            return []
        own = [name for source in self._lists for name in source.names()]
        return get_close_matches(model.lower(), dict.fromkeys((*catalog.names(provider), *own)), n=3)

    def _of_provider(self, provider: str, at_ns: int) -> Iterator[Rates]:
        for source in self._lists:
            yield from source.of_provider(_names(provider), at_ns)
        yield from catalog.all_rates(provider, at_ns)

    def _find(self, provider: str, model: str, at_ns: int, context: Context) -> Found:
        """The first source that has the name, as it is and then normalised; and until when that stays so."""
        providers = _names(provider)
        spelled = [model]
        if providers[-1] == "litellm" and "/" in model:
            # LiteLLM names are "provider/model".
            provider, _, rest = model.partition("/")
            providers = (*providers, *_names(provider))
            spelled.append(rest)
        first, end = -FOREVER, FOREVER
        for spell in (plain, normalised):
            names = [name for each in spelled for name in spell(providers, each)]
            for find in (*(source.find for source in self._lists), catalog.find, additions.find):
                if names:
                    rates, starts, ends = find(providers, names, at_ns, context)
                    first, end = max(first, starts), min(end, ends)
                    if rates is not None:
                        if find is catalog.find:
                            rates = additions.completed(rates, providers[-1], names[-1].lower(), at_ns, context)
                        return Found(_clipped(rates, first, end), first, end)
        return Found(None, first, end)


def _sources(prices: Any) -> tuple[PriceList, ...]:
    if prices is None:
        return ()
    if isinstance(prices, Mapping):
        return (Overrides(prices),)
    # What reads and fetches is loaded by those who have something to read.
    from costguard.pricing.source import sources_of

    return sources_of(prices)


def _names(provider: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((provider.strip().lower(), canonical(provider))))


def _clipped(rates: Rates, first: int, end: int) -> Rates:
    """Rates that another list ends, as it has a price from then on."""
    if (first, end) == _bounds(rates):
        return rates
    bounds = {"valid_from_ns": None if first == -FOREVER else first, "valid_until_ns": None if end == FOREVER else end}
    return rates.changed(**bounds)


def _bounds(rates: Rates) -> tuple[int, int]:
    start, end = rates.valid_from_ns, rates.valid_until_ns
    return -FOREVER if start is None else start, FOREVER if end is None else end


def _highest(provider: str, known: list[Rates]) -> Rates:
    scale = max(rates.scale for rates in known)
    highest: dict[str, int] = {}
    for rates in known:
        lift: int = 10 ** (scale - rates.scale)
        for level in (rates.rates, *(level for _, level in rates.tiers)):
            for name in ("input", "cache_write_5m", "cache_write_1h", "output"):
                rate = level.get(name, level.get("input", 0) if name != "output" else 0)
                highest[name] = max(highest.get(name, 0), -(-rate * lift // rates.share))
    source = f"assumed: the dearest of {provider}, {known[-1].source}"
    return Rates(provider, "any", source, highest, scale=scale)
