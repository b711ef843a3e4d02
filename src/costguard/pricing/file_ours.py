"""Our own shape of a price list, in TOML or JSON; docs/prices.md has it in words.

updated = 2026-11-20

[[price]]
model = "openai/my-model"
from = 2026-09-01
input = "2.50"
output = "10"
web_searches = "0.01"

[[price.above]]
tokens = 200000
input = "5"
output = "15"

[[price.variant]]
when = { service_tier = "flex" }
input = "1.25"
output = "5"
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from costguard.pricing.hours import DAYS, Hours, spans_of
from costguard.pricing.listing import Listing, Steps, Terms
from costguard.pricing.problems import Problems
from costguard.pricing.rates import EXACT, FOREVER
from costguard.pricing.standins import REASONING
from costguard.pricing.table import Table
from costguard.pricing.usage import BUCKETS, UNIT_BUCKETS

_ALSO = {"cache_write": "cache_write_5m"}
_PER_HOUR = "audio_hours"
_PRICES = (*BUCKETS, REASONING, *_ALSO, _PER_HOUR)
_ENTRY = ("model", "from", "until", "context_window", "least", "note", "above", "variant")
_VARIANT = ("when", "hours", "days", "from", "until", "multiply", "above")
_HEAD = ("price", "updated", "note")
_TOKENS = frozenset((*BUCKETS, REASONING)) - frozenset(UNIT_BUCKETS)


def is_ours(data: Any) -> bool:
    if not isinstance(data, dict):
        return False
    return isinstance(data.get("price"), list) or (
        bool(data)
        and all(isinstance(entry, dict) and entry and entry.keys() <= set(_PRICES) for entry in data.values())
    )


def read_ours(data: Mapping[str, Any], problems: Problems) -> Table:
    """Check and read every price."""
    if not isinstance(data.get("price"), list):
        # The shape of `Guard(prices={...})`.
        data = {"price": [{"model": name, **entry} for name, entry in data.items()]}
    for key in _others(data, set(_HEAD)):
        problems.add("the file", key, data[key], f"the keys are {', '.join(_HEAD)}")
    by_name: dict[str, list[Listing]] = {}
    for place, entry in enumerate(data["price"]):
        label = f"price {place + 1}"
        if not isinstance(entry, dict):
            problems.add(label, "the entry", entry, "write a table with model, input and output")
            continue
        name = entry.get("model")
        if not isinstance(name, str) or not name.strip() or "*" in name.strip()[:-1]:
            problems.add(label, "model", name, "write 'provider/model' or 'model', with a * at the end if need be")
            continue
        by_name.setdefault(name.strip().lower(), []).append(_listing(f"{label}, {name.strip()}", entry, problems))
    exact: dict[str, Listing] = {}
    starts: dict[str, Listing] = {}
    for name, listings in by_name.items():
        whole = listings[-1]._replace(terms=tuple(terms for listing in listings for terms in listing.terms))
        if len({listing.share for listing in listings}) > 1:
            problems.add(name, _PER_HOUR, "mixed", "price all entries of a model per hour, or none")
        for first, second in _twice(whole.terms):
            problems.add(name, "from", first, f"two entries hold at once ({second}); give them different dates")
        (starts if name.endswith("*") else exact)[name.removesuffix("*")] = whole
    updated = data.get("updated")
    moment = None if updated is None else _moment("the file", "updated", updated, problems)
    return Table(exact, starts=starts, updated=moment, undated=True)


def _listing(label: str, entry: Mapping[str, Any], problems: Problems) -> Listing:
    for key in _others(entry, {*_PRICES, *_ENTRY}):
        problems.add(label, key, entry[key], f"the keys are {', '.join((*_ENTRY, *_PRICES))}")
    prices = _steps(label, entry, problems)
    if not prices and not entry.keys() & set(_PRICES):
        problems.add(label, "the price", {}, 'give buckets, such as input = "1.25" and output = "10"')
    from_ns, until_ns = _bounds(label, entry, problems)
    terms = [Terms(prices, from_ns=from_ns, until_ns=until_ns)]
    for place, variant in enumerate(_tables(label, "variant", entry, problems)):
        terms.append(_variant(f"{label}, variant {place + 1}", variant, prices, (from_ns, until_ns), problems))
    provider, slash, model = str(entry["model"]).strip().lower().partition("/")
    least = entry.get("least", {})
    if not isinstance(least, dict) or not all(key in BUCKETS and isinstance(least[key], int) for key in least):
        problems.add(label, "least", least, "write the least count that is billed, e.g. { seconds = 10 }")
        least = {}
    window = entry.get("context_window")
    if window is not None and (not isinstance(window, int) or isinstance(window, bool) or window < 1):
        problems.add(label, "context_window", window, "write a number of tokens")
        window = None
    share = 9 if _PER_HOUR in entry else 1
    if share == 9:
        terms = [each._replace(prices=_ninefold(each.prices)) for each in terms]
    return Listing(
        *((provider, model) if slash else ("", provider)), tuple(terms), {}, least, share, window,
    )  # fmt: skip


def _variant(
    label: str, given: Mapping[str, Any], usual: Mapping[str, Steps], within: tuple[int, int], problems: Problems
) -> Terms:
    """Prices for a context, or for hours of the day; what it does not name stays as it is."""
    for key in _others(given, {*_PRICES, *_VARIANT}):
        problems.add(label, key, given[key], f"the keys are {', '.join((*_VARIANT, *_PRICES))}")
    when = given.get("when", {})
    if not isinstance(when, dict) or not all(isinstance(value, (str, bool)) for value in when.values()):
        problems.add(label, "when", when, 'write facts of the call, e.g. { service_tier = "flex" } or { batch = true }')
        when = {}
    facts = {name: str(value).lower() for name, value in when.items()}
    if facts.pop("batch", "false") == "true":
        facts["processing"] = "batch"
    hours = _hours(label, given, problems)
    if not facts and hours is None:
        problems.add(label, "when", when, 'say what it is for: when = { service_tier = "flex" }, or hours and days')
    prices = dict(_steps(label, given, problems))
    if "multiply" in given:
        factor = problems.price(label, "multiply", given["multiply"], "USD")
        for bucket, steps in usual.items():
            if factor is not None and bucket in _TOKENS:
                prices.setdefault(bucket, tuple((start, EXACT.multiply(price, factor)) for start, price in steps))
    first, end = _bounds(label, given, problems)
    first, end = max(first, within[0]), min(end, within[1])
    return Terms(prices if facts else {**usual, **prices}, facts, first, end, hours)


def _steps(label: str, given: Mapping[str, Any], problems: Problems) -> dict[str, Steps]:
    steps: dict[str, dict[int, Decimal]] = {}
    sizes = [(-1, label, given)]
    for place, above in enumerate(_tables(label, "above", given, problems)):
        where, tokens = f"{label}, above {place + 1}", above.get("tokens")
        for key in _others(above, {*_PRICES, "tokens"}):
            problems.add(where, key, above[key], f"the keys are tokens, {', '.join(_PRICES)}")
        if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 0:
            problems.add(where, "tokens", tokens, "write above how many input tokens it holds, e.g. 200000")
        else:
            sizes.append((tokens, where, above))
    for size, where, table in sorted(sizes, key=lambda each: each[0]):
        for key in _PRICES:
            if key in table:
                bucket = _ALSO.get(key, key)
                per = "hour" if key == _PER_HOUR else "unit" if bucket in UNIT_BUCKETS else "million tokens"
                price = problems.price(where, key, table[key], per)
                if price is not None:
                    scaled = EXACT.divide(price, 400) if key == _PER_HOUR else price
                    scaled = scaled if per != "million tokens" else EXACT.scaleb(price, -6)
                    steps.setdefault("seconds" if key == _PER_HOUR else bucket, {})[size] = scaled
    for bucket, by_size in steps.items():
        if -1 not in by_size:
            problems.add(label, bucket, "only above", "give its price below that size, too")
    return {bucket: tuple(by_size.items()) for bucket, by_size in steps.items()}


def _others(given: Mapping[str, Any], known: set[str]) -> list[str]:
    """The keys that are not known, in their order."""
    return [key for key in given if key not in known]


def _ninefold(prices: Mapping[str, Steps]) -> dict[str, Steps]:
    """A price per hour has no finite decimal per second, nine times it has (see `Rates.share`)."""
    return {
        bucket: tuple((start, price if bucket == "seconds" else EXACT.multiply(price, 9)) for start, price in steps)
        for bucket, steps in prices.items()
    }


def _tables(label: str, key: str, given: Mapping[str, Any], problems: Problems) -> list[Mapping[str, Any]]:
    tables = given.get(key, [])
    if isinstance(tables, list) and all(isinstance(table, dict) for table in tables):
        return tables
    problems.add(label, key, tables, f"write a table [[price.{key}]]")
    return []


def _hours(label: str, given: Mapping[str, Any], problems: Problems) -> Hours | None:
    if "hours" not in given and "days" not in given:
        return None
    texts, days = given.get("hours", ["00:00-24:00"]), given.get("days", list(DAYS))
    try:
        spans = spans_of([texts] if isinstance(texts, str) else texts)
    except (TypeError, ValueError):
        problems.add(label, "hours", texts, 'write hours of the day in UTC: ["16:30-00:30"]')
        return None
    if not isinstance(days, list) or not days or not all(day in DAYS for day in days):
        problems.add(label, "days", days, f"write a list of {', '.join(DAYS)}")
        return None
    return Hours(spans, frozenset(DAYS.index(day) for day in days))


def _bounds(label: str, given: Mapping[str, Any], problems: Problems) -> tuple[int, int]:
    found = []
    for key, without in (("from", -FOREVER), ("until", FOREVER)):
        moment = None if given.get(key) is None else _moment(label, key, given[key], problems)
        found.append(without if moment is None else int(moment.timestamp()) * 10**9)
    if found[0] >= found[1]:
        problems.add(label, "until", given.get("until"), f"it must come after from, which is {given.get('from')}")
    return found[0], found[1]


def _moment(label: str, key: str, value: Any, problems: Problems) -> datetime | None:
    """A date (UTC) or a moment."""
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime.combine(value, time())
        if isinstance(value, datetime):
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except ValueError:
        pass
    problems.add(label, key, value, "write a date such as 2026-11-01, or a moment such as 2026-11-01T16:00:00Z")
    return None


def _twice(terms: tuple[Terms, ...]) -> list[tuple[str, str]]:
    """Terms for the same that begin at the same moment."""
    seen: set[tuple[Any, ...]] = set()
    found = []
    for each in terms:
        key = (tuple(sorted(each.when.items())), each.from_ns, each.hours)
        if key in seen:
            found.append((str(each.from_ns), str(dict(each.when) or "standard")))
        seen.add(key)
    return found
