"""A change of cost split into its causes, exactly: one factor after the other is put from what it was to what it is.

The cost of a group is, over its models m and the ways t they processed calls in,

    calls x share of m x share of t in m
        x (input tokens per call x (share of each kind x its price) + output tokens per call x price + rest per call)

`PARTS` are these factors in the order in which they are put on. The parts add up to the change to the last
nano-dollar, as each begins where the one before it ended. A model, or a way, that only one of the two times has takes
all factors that it lacks from the other: a new model comes in at its own cost, which is all of its part in `models`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from costguard.ledger.price_sums import PriceSum
from costguard.reports.unit_prices import KINDS, list_costs, tier, tokens, unit_prices

PARTS = ("volume", "models", "tier", "input", "output", "cache", "price", "other")
"""volume: more or fewer calls. models: other models. tier: other ways of processing (batch, flex, priority).
input, output: longer or shorter ones. cache: more or less of the input cached. price: other prices for the same
tokens, corrections included. other: what tokens of these kinds do not cost: searches, audio, fees for each request,
dearer rates for long inputs, costs that a provider states itself, and calls that were lost."""

_INPUT = KINDS[:3]
_ZERO = Fraction(0)

_Place = tuple[str, str, str]
"""Provider, model and tier."""


@dataclass(slots=True)
class _Cell:
    """What the calls of one model, processed in one way, come to in one time."""

    calls: int = 0
    cost: int = 0
    corrections: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    costs: dict[str, Fraction] = field(default_factory=lambda: dict.fromkeys(KINDS, _ZERO))
    prices: dict[str, Fraction] = field(default_factory=dict)

    def add(self, one: PriceSum) -> None:
        self.calls += one.calls
        self.cost += one.cost
        self.corrections += one.corrections
        counts, costs = tokens(one), list_costs(one)
        for kind in KINDS:
            self.counts[kind] += counts[kind]
            self.costs[kind] += costs[kind]
        if one.rates is not None and not self.prices:
            # For kinds of which there was none: what one would have cost.
            self.prices = unit_prices(one.rates)


@dataclass(slots=True)
class _Factors:
    """Of a cell with calls; None: the other time's is taken."""

    input: Fraction
    output: Fraction
    shares: dict[str, Fraction] | None
    prices: dict[str, Fraction]
    corrections: Fraction
    rest: Fraction

    @classmethod
    def of(cls, cell: _Cell) -> _Factors:
        calls, into = cell.calls, sum(cell.counts[kind] for kind in _INPUT)
        prices = dict(cell.prices)
        for kind in KINDS:
            if cell.counts[kind]:
                prices[kind] = cell.costs[kind] / cell.counts[kind]
        rest = cell.cost - cell.corrections - sum(cell.costs.values(), _ZERO)
        return cls(
            Fraction(into, calls),
            Fraction(cell.counts["output"], calls),
            {kind: Fraction(cell.counts[kind], into) for kind in _INPUT} if into else None,
            prices,
            Fraction(cell.corrections, calls),
            rest / calls,
        )


def split(before: Iterable[PriceSum], after: Iterable[PriceSum]) -> dict[str, int]:
    """The parts of the change, in nano-dollars; they add up to it."""
    sides = (_cells(before), _cells(after))
    change = sum(cell.cost for cell in sides[1].values()) - sum(cell.cost for cell in sides[0].values())
    # What has a cost and no calls has no cost per call: what was billed beside calls, and corrections of older ones.
    beside = [sum(cell.cost for cell in side.values() if cell.calls <= 0) for side in sides]
    counted = [{place: cell for place, cell in side.items() if cell.calls > 0} for side in sides]
    parts = dict.fromkeys(PARTS, _ZERO)
    if any(counted):
        values = [_value(counted, turn) for turn in range(len(PARTS) + 1)]
        parts = {part: values[turn + 1] - values[turn] for turn, part in enumerate(PARTS)}
    parts["other"] += beside[1] - beside[0]
    return _whole(parts, change)


def _cells(sums: Iterable[PriceSum]) -> dict[_Place, _Cell]:
    found: dict[_Place, _Cell] = {}
    # The price that most calls had first: of the kinds that none of them used it is what one would have cost.
    for one in sorted(sums, key=lambda one: (-one.calls, "" if one.rates is None else one.rates.dump())):
        place = (one.group["provider"], one.group["model"], tier(one.rates))
        found.setdefault(place, _Cell()).add(one)
    return found


def _value(sides: Sequence[Mapping[_Place, _Cell]], turn: int) -> Fraction:
    """The cost with the first `turn` factors as they are now, the others as they were."""
    now = [place < turn for place in range(len(PARTS))]
    calls = [sum(cell.calls for cell in side.values()) for side in sides]
    factors = [{place: _Factors.of(cell) for place, cell in side.items()} for side in sides]
    total = _ZERO
    for place in {**sides[0], **sides[1]}:
        share = _share_of_model(sides, calls, place, now[1]) * _share_of_tier(sides, place, now[2])
        if not share:
            continue
        known = [side.get(place) for side in factors]
        into, out, kinds, price, rest = [_pick(known, now[step]) for step in (3, 4, 5, 6, 7)]
        shares = kinds.shares or _other(known, kinds).shares or {}
        cost = out.output * _price(known, price, "output") + price.corrections + rest.rest
        for kind, part in shares.items():
            cost += into.input * part * _price(known, price, kind)
        total += calls[now[0]] * share * cost
    return total


def _share_of_model(
    sides: Sequence[Mapping[_Place, _Cell]], calls: Sequence[int], place: _Place, now: bool
) -> Fraction:
    side = int(now) if calls[now] else 1 - now
    return Fraction(_of_model(sides[side], place), calls[side])


def _share_of_tier(sides: Sequence[Mapping[_Place, _Cell]], place: _Place, now: bool) -> Fraction:
    side = int(now) if _of_model(sides[now], place) else 1 - now
    cell = sides[side].get(place)
    return Fraction(cell.calls, _of_model(sides[side], place)) if cell is not None else _ZERO


def _of_model(side: Mapping[_Place, _Cell], place: _Place) -> int:
    return sum(cell.calls for other, cell in side.items() if other[:2] == place[:2])


def _pick(known: Sequence[_Factors | None], now: bool) -> _Factors:
    found = known[now] or known[1 - now]
    assert found is not None  # noqa: S101 - one of the two times has the place
    return found


def _other(known: Sequence[_Factors | None], one: _Factors) -> _Factors:
    return next((other for other in known if other is not None and other is not one), one)


def _price(known: Sequence[_Factors | None], of: _Factors, kind: str) -> Fraction:
    found = of.prices.get(kind)
    return _other(known, of).prices.get(kind, _ZERO) if found is None else found


def _whole(parts: Mapping[str, Fraction], change: int) -> dict[str, int]:
    """Rounded to whole nano-dollars that add up to the change: those nearest to the next one are rounded up."""
    found = {part: amount.__floor__() for part, amount in parts.items()}
    left = change - sum(found.values())
    nearest = sorted(parts, key=lambda part: (found[part] - parts[part], PARTS.index(part)))
    for part in nearest[:left]:
        found[part] += 1
    return found
