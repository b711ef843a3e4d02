"""The shipped price list, compiled: the only file that imports `genai_prices`.

Only its data is used. Its calculator costs 55 us a call, its look-ups keep every unknown name for ever,
and its updater does not survive a fork.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from costguard.pricing import rules
from costguard.pricing.list_keys import BUCKET_PRICES, MILLION
from costguard.pricing.naming import canonical, spellings
from costguard.pricing.rates import EXACT, FOREVER, Rates
from costguard.pricing.table import NO_LIST, Context, Found
from costguard.pricing.usage import BUCKETS

if TYPE_CHECKING:
    from genai_prices.types import ConditionalPrice, ModelInfo, ModelPrice, PriceVariant, Provider, TieredPrices

_Prices: TypeAlias = "dict[str, Decimal | TieredPrices]"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = timedelta(days=1)


class _List(NamedTuple):
    all: list[Provider]
    by_id: dict[str, Provider]
    source: str


class _Match(NamedTuple):
    provider: str
    model: ModelInfo
    own: bool
    asked: str


@cache
def _load() -> _List:
    import genai_prices
    from genai_prices.data import providers

    return _List(
        providers, {provider.id: provider for provider in providers}, f"genai-prices {genai_prices.__version__}"
    )


def source() -> str:
    """The list's name and version. The first call of anything here imports the list, which takes half a second."""
    return _load().source


def providers() -> list[str]:
    """The providers of the list."""
    return list(_load().by_id)


@cache
def dated_ns() -> int | None:
    """About when the list was written: the last day it mentions before it was installed; it has no date of its own."""
    import genai_prices

    installed = Path(genai_prices.__file__).with_name("data.py").stat().st_mtime
    today = datetime.fromtimestamp(installed, UTC).date()
    days = [
        limit.start_date
        for provider in _load().all
        for model in provider.models
        for each in (*(model.prices if isinstance(model.prices, list) else ()), *(model.price_variants or ()))
        if hasattr(limit := each.constraint, "start_date") and limit.start_date <= today
    ]
    return _ns(datetime.combine(max(days), time(), UTC)) if days else None


def names(provider: str) -> list[str]:
    """The models that a provider has in the list, those it resells included."""
    listed = _load()
    own = listed.by_id.get(canonical(provider))
    if own is None:
        return []
    resold = [listed.by_id[name] for name in own.fallback_model_providers or () if name in listed.by_id]
    return [model.id for each in (own, *resold) for model in each.models]


def rates(provider: str, model: str, at_ns: int, context: Context = ()) -> Rates | None:
    """The list's rates of a model at a moment, with the bounds between which they hold; None if it has none.

    Looked up as it is written, then without wrapping ("models/", an ARN, the provider's name), region,
    version and date. A fine-tune ("ft:...") has an entry of its own or none.
    """
    providers = (provider.lower(), canonical(provider))
    return find(providers, spellings(providers, model.lower()), at_ns, context).rates


def find(providers: Sequence[str], spelled: Sequence[str], at_ns: int, context: Context) -> Found:
    """The rates under the first of these names that the list has."""
    match = _match(providers[-1], spelled)
    if match is None:
        at_home = providers[-1] in rules.SELF_HOSTED
        return Found(Rates(providers[-1], spelled[0], "self-hosted", dict.fromkeys(BUCKETS, 0))) if at_home else NO_LIST
    first, end = _interval(match, _EPOCH + timedelta(microseconds=at_ns // 1_000))
    bounds = (-FOREVER if first is None else first, FOREVER if end is None else end)
    return Found(_compile(match, at_ns, context), *bounds)


def all_rates(provider: str, at_ns: int) -> Iterator[Rates]:
    """The standard rates of each of a provider's own models."""
    own = _load().by_id.get(canonical(provider))
    if own is None:
        return
    for model in own.models:
        compiled = _compile(_Match(own.id, model, True, model.id), at_ns, ())
        if compiled is not None:
            yield compiled


def _match(name: str, spelled: Sequence[str]) -> _Match | None:
    listed = _load()
    own = listed.by_id.get(name)
    if own is None:
        return None
    lower = [each.lower() for each in spelled]
    if name == "aws":
        # In one region a model costs what it costs through a profile of several regions of that geography.
        lower += [f"us.{each}" for each in lower]
    for spelling in lower:
        found = own.find_model(spelling, all_providers=listed.all)
        if found is None or (spelling.startswith("ft:") and not found.id.startswith("ft:")):
            continue
        if not rules.is_another(found.id, spelling):
            return _Match(name, found, any(found is each for each in own.models), spelling)
    return None


def _compile(match: _Match, at_ns: int, context: Context) -> Rates | None:
    provider, model, _, asked = match
    at = _EPOCH + timedelta(microseconds=at_ns // 1_000)
    prices = _standard(match, at)
    if not prices:
        if not rules.is_free(provider, model.id.lower()):
            return None
        prices = {"input_mtok": Decimal(0), "output_mtok": Decimal(0)}
    prices = {**dict.fromkeys(rules.told_beside(provider, prices), Decimal(0)), **prices}
    wanted = rules.asked(provider, context)
    factor = Decimal(1)
    unknown = []
    if wanted:
        changed, known = _variants(match, at, wanted)
        if "service_tier" not in known and rules.as_in_batches(provider, wanted):
            changed, known = _variants(match, at, {"processing": "batch"})
            known = {"service_tier"} if known else known
        prices = {**prices, **changed}
        for name, value in wanted.items():
            if name not in known:
                by_rule = rules.factor(provider, model.id, name, value, asked)
                if by_rule is None:
                    unknown.append(f"{name}={value}")
                else:
                    factor = EXACT.multiply(factor, by_rule)
    levels, share = _levels(prices, factor, rules.text_prices(provider, model.id))
    valid_from_ns, valid_until_ns = _interval(match, at)
    return Rates.priced(
        provider,
        model.id,
        _load().source,
        levels,
        share=share,
        least=rules.least_billed(provider, model.id),
        unknown=unknown,
        valid_from_ns=valid_from_ns,
        valid_until_ns=valid_until_ns,
        context_window=model.context_window,
    )


def _standard(match: _Match, at: datetime) -> _Prices:
    """The list's standard prices at a moment: the last whose condition holds, else the first."""
    given = match.model.prices
    if not isinstance(given, list):
        return _stated(given)
    peak = rules.peak_applies(match.provider, match.model.id, at)
    for conditional in reversed(given):
        limit = conditional.constraint
        if limit is None or (limit.active(at) and (peak or not hasattr(limit, "start_time"))):
            return _stated(conditional.prices)
    return _stated(given[0].prices) if given else {}


def _variants(match: _Match, at: datetime, wanted: Mapping[str, str]) -> tuple[_Prices, set[str]]:
    """The prices that a context changes, and the names in it that are thereby known.

    The list dates most variants from the day someone looked them up. Before that day they hold too, as long
    as the standard prices were the same: the discount had been there, and unlisted is not the same as none.
    A reseller's variants are its own: those of the model's maker do not apply to it.
    """
    changed: _Prices = {}
    known: set[str] = set()
    fitting = [
        variant
        for variant in (match.model.price_variants or () if match.own else ())
        if all(wanted.get(name) == value for name, value in variant.when.items())
    ]
    active = [variant for variant in fitting if variant.constraint is None or variant.constraint.active(at)]
    for variant in active or [variant for variant in reversed(fitting) if _held_before(match, variant, at)]:
        if not active and known & variant.when.keys():
            continue
        known.update(variant.when)
        for key, price in _stated(variant.prices).items():
            changed.setdefault(key, price)
    return changed, known


def _held_before(match: _Match, variant: PriceVariant, at: datetime) -> bool:
    start = getattr(variant.constraint, "start_date", None)
    if start is None:
        return False
    return _standard(match, at) == _standard(match, datetime.combine(start, time(), UTC))


def _stated(price: ModelPrice) -> _Prices:
    return {key: value for key, value in price.__dict__.items() if value is not None and not key.startswith("_")}


def _levels(
    prices: _Prices, factor: Decimal, same: tuple[tuple[str, str], ...]
) -> tuple[list[tuple[int, dict[str, Decimal]]], int]:
    """The list's prices by bucket, USD per unit times the share, for each threshold; and the share."""
    starts = sorted({tier.start for price in prices.values() if not isinstance(price, Decimal) for tier in price.tiers})
    share = 9 if any(key in prices for key in BUCKET_PRICES["seconds"][0]) else 1
    levels = []
    for start in (-1, *starts):
        level: dict[str, Decimal] = {}
        for bucket, (keys, per) in BUCKET_PRICES.items():
            key = next((key for key in keys if key in prices), None)
            if key is not None:
                price = EXACT.multiply(_at_size(prices[key], start), Decimal(share))
                if per is MILLION and bucket != "characters":
                    price = EXACT.multiply(price, factor)
                level[bucket] = EXACT.divide(price, per)
        for bucket, other in same:
            if bucket not in level and other in level:
                level[bucket] = level[other]
        levels.append((start, level))
    return levels, share


def _at_size(price: Decimal | TieredPrices, start: int) -> Decimal:
    if isinstance(price, Decimal):
        return price
    return next((tier.price for tier in reversed(price.tiers) if start >= tier.start), price.base)


def _interval(match: _Match, at: datetime) -> tuple[int | None, int | None]:
    """Between which moments the prices stay as they are at `at`."""
    model = match.model
    conditions: list[ConditionalPrice | PriceVariant] = list(model.price_variants or ())
    if isinstance(model.prices, list):
        conditions += model.prices
    edges = rules.calendar_edges(match.provider, model.id, at)
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
    for limit in (condition.constraint for condition in conditions):
        if (start := getattr(limit, "start_date", None)) is not None:
            edges.append(datetime.combine(start, time(), UTC))
        for of_day in (getattr(limit, "start_time", None), getattr(limit, "end_time", None)):
            if of_day is not None:
                aware = of_day if of_day.tzinfo is not None else of_day.replace(tzinfo=UTC)
                today = datetime.combine(midnight, aware).astimezone(UTC)
                edges += [today + _DAY * days for days in (-2, -1, 0, 1, 2)]
    past = [edge for edge in edges if edge <= at]
    coming = [edge for edge in edges if edge > at]
    return _ns(max(past)) if past else None, _ns(min(coming)) if coming else None


def _ns(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1_000
