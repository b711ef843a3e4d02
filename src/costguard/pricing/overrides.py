"""The user's own prices, which come before every list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from costguard.errors import ConfigError
from costguard.money import usd
from costguard.pricing.naming import undated
from costguard.pricing.rates import EXACT, Rates
from costguard.pricing.rules import asked, factor
from costguard.pricing.table import NO_LIST, Context, Found
from costguard.pricing.usage import BUCKETS, UNIT_BUCKETS

Prices = Mapping[str, Mapping[str, Decimal | int | str]]

_ALSO = {"cache_write": "cache_write_5m"}


class Overrides:
    """Prices by name: `{"openai/my-model": {"input": "1.25", "output": "10", "cache_read": "0.125"}}`.

    A key is "provider/model", "model" (whoever serves it), or the beginning of either and a `*`.
    The first that matches: the whole name, the name without a date (a provider answers "gpt-4o" as
    "gpt-4o-2024-08-06"), then the longest beginning. Upper and lower case are the same.

    Prices are USD per million tokens, and for `UNIT_BUCKETS` per unit (a second, a page, a search).
    An override replaces the list's entry as a whole: a bucket that it leaves out has no price of its own.

    `name` and `len` are what a list of sources shows of it.

    Raises ConfigError, naming key, bucket and value, for whatever is not an exact amount of a known bucket.
    """

    def __init__(self, prices: Prices | None = None) -> None:
        self._exact: dict[str, Rates] = {}
        self._starts: list[tuple[str, Rates]] = []
        for key, given in (prices or {}).items():
            rates = _compile(key, given)
            name = key.strip().lower()
            if name.endswith("*"):
                self._starts.append((name[:-1], rates))
            else:
                self._exact[name] = rates
        self._starts.sort(key=lambda start: -len(start[0]))

    name = "prices="

    def __len__(self) -> int:
        return len(self._exact) + len(self._starts)

    def find(self, providers: Sequence[str], names: Sequence[str], at_ns: int = 0, context: Context = ()) -> Found:
        """The user's rates of a model; they hold at all times, and for standard processing."""
        rates = self._find(providers, names)
        if rates is None:
            return NO_LIST
        wanted = asked(providers[-1], context) if context else {}
        return Found(
            rates.changed(
                provider=providers[-1],
                unknown=[
                    f"{name}={value}"
                    for name, value in wanted.items()
                    if factor(providers[-1], names[0], name, value) != 1
                ],
            )
        )

    def _find(self, providers: Sequence[str], names: Sequence[str]) -> Rates | None:
        lower = [name.lower() for name in names]
        for spelling in (*lower, *map(undated, lower)):
            for full in (*(f"{provider}/{spelling}" for provider in providers), spelling):
                if full in self._exact:
                    return self._exact[full]
        wholes = [full for name in lower for full in (*(f"{provider}/{name}" for provider in providers), name)]
        return next((rates for start, rates in self._starts if any(full.startswith(start) for full in wholes)), None)

    def names(self) -> list[str]:
        """The names of models, without provider."""
        return [name.partition("/")[2] or name for name in self._exact]

    def of_provider(self, providers: Sequence[str], at_ns: int = 0) -> Iterator[Rates]:
        """The rates under keys that name one of these providers."""
        starts = tuple(f"{provider}/" for provider in providers)
        return (rates for name, rates in (*self._exact.items(), *self._starts) if name.startswith(starts))


def _compile(key: str, given: Mapping[str, Decimal | int | str]) -> Rates:
    if not isinstance(key, str) or not key.strip() or "*" in key.strip()[:-1]:
        raise ConfigError(
            f"price key {key!r} is not a name; write 'provider/model' or 'model', with a * at the end if need be"
        )
    if not isinstance(given, Mapping) or not given:
        raise ConfigError(f"the price of {key!r} is {given!r}; give buckets, e.g. {{'input': '1.25', 'output': '10'}}")
    prices: dict[str, Decimal] = {}
    for bucket, value in given.items():
        name = _ALSO.get(bucket, bucket)
        if name not in BUCKETS:
            raise ConfigError(f"the price of {key!r} has a bucket {bucket!r}; the buckets are {', '.join(BUCKETS)}")
        amount = usd(value, what=f"the price of {key!r}, {bucket},")
        prices[name] = amount if name in UNIT_BUCKETS else EXACT.scaleb(amount, -6)
    provider, slash, model = key.strip().partition("/")
    return Rates.priced(*((provider, model) if slash else ("", provider)), "override", [(-1, prices)])
