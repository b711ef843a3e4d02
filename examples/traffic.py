"""A month in the life of an app with language models in it: who called what and when, drawn from a seed.

Users by a power law, office hours and weekends, growth, models that are replaced, a loop that runs away one afternoon,
a nightly job without a user, cached input, errors, abandoned streams, a model that has no price. The prices are real.
Nothing here knows of a ledger: `examples.realistic` and `benchmarks.ledgers` write it into one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TypeAlias

from costguard.pricing.book import PriceBook
from costguard.tags import Tags
from examples.traffic_shapes import FEATURES, Feature, Shape, shapes

NAMES = (
    "alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy", "kim", "leo", "mallory", "nina",
    "oscar", "peggy", "quentin", "ruth", "sybil", "trent", "uma", "victor", "wendy", "xavier", "yuki", "zoe", "amara",
    "bilal", "chen", "dana", "emeka", "fatima",
)  # fmt: skip
FAMILIES = (
    "okafor", "lindqvist", "tanaka", "moreau", "silva", "novak", "haddad", "kowalski", "nguyen", "rossi", "ivanova",
    "garcia", "schmidt", "patel", "jensen", "oconnor", "yilmaz", "kaya", "dubois", "fischer", "sato", "kim", "mensah",
    "costa", "petrov", "larsen", "weber", "ali", "park", "horvat", "varga", "conti",
)  # fmt: skip
TEAMS = ("support", "product", "sales", "research", "platform")
MOST_USERS = len(NAMES) * (len(FAMILIES) + 1)

_DAY = 86_400 * 10**9
_HOUR = 3_600 * 10**9
# Two humps, of two continents; few sleepless.
_HOURS = (3, 2, 1, 1, 1, 2, 8, 22, 48, 70, 78, 74, 58, 70, 88, 92, 84, 66, 48, 34, 24, 16, 10, 6)
_NIGHT = (0, 5, 3, 1, *[0] * 20)
_WEEKEND = 0.3
_GROWTH = 0.012
_SPIKE_AT, _SPIKE_SHARE, _SPIKE_HOURS = 0.72, 0.03, (14, 15, 16)
_OF_A_USER = (0.66, 0.26, 0.08)
_ENVIRONMENTS = (("production", 0.90), ("staging", 0.07), ("development", 0.03))

Drawn: TypeAlias = tuple[int, int, Shape]
"""A call: nanoseconds since 1970, the place of its tags in `Traffic.tag_sets`, everything else."""


@dataclass(frozen=True, slots=True)
class _Source:
    """Who calls for what: a tag set, with its share of all calls."""

    tags: Tags
    feature: Feature
    share: float


class Traffic:
    """So many calls, over so many days up to `until`: the same ones for the same arguments and the same prices.

    users: those that there are, at most `MOST_USERS`; about the square root of the calls if not given
    """

    def __init__(self, calls: int, *, days: int, seed: int, until: datetime, users: int | None = None) -> None:
        if until.tzinfo is None:
            raise ValueError(f"until {until} has no time zone; give datetime.now(UTC)")
        self.calls = calls
        self.days = days
        self.until = until
        # Whole days in UTC but for the last one, which is as far as it got.
        last = (until - timedelta(microseconds=1)).astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        self.since = last - timedelta(days=days - 1)
        self._end = int(until.timestamp()) * 10**9
        self.users = max(4, min(MOST_USERS, 1_000, round(calls**0.5) if users is None else users))
        self._random = Random(seed)
        self._book = PriceBook()
        self._pools: dict[tuple[str, str, object], list[Shape]] = {}
        self._sources = self._draw_sources()
        self.tag_sets = [source.tags for source in self._sources]

    def each_day(self) -> Iterator[list[Drawn]]:
        """The calls of one day after the other, in the order in which they end, as a ledger gets them."""
        spikes = round(self.calls * _SPIKE_SHARE)
        spike_day = int(self.days * _SPIKE_AT)
        start = int(self.since.timestamp()) * 10**9
        for day, count in enumerate(self._counts(self.calls - spikes)):
            drawn = self._draw(start + day * _DAY, day, count)
            if day == spike_day:
                drawn += self._run_away(start + day * _DAY, day, spikes)
            drawn.sort(key=_ended)
            yield drawn

    def _counts(self, calls: int) -> list[int]:
        """Of each day; they add up to `calls`."""
        weights = []
        for day in range(self.days):
            weekend = (self.since + timedelta(days=day, hours=12)).weekday() >= 5
            weight = (1 + _GROWTH * day) * (_WEEKEND if weekend else 1) * self._random.uniform(0.88, 1.12)
            weights.append(weight * sum(self._hours(self.since + timedelta(days=day), _HOURS)) / sum(_HOURS))
        total, before, counts = sum(weights), 0, []
        reached = 0.0
        for weight in weights:
            reached += weight
            upto = round(calls * reached / total)
            counts.append(upto - before)
            before = upto
        return counts

    def _hours(self, day: datetime, usual: Sequence[float]) -> list[float]:
        """What falls on each hour of a day, as far as it got."""
        got = (self.until - day) / timedelta(hours=1)
        return [often * max(0.0, min(1.0, got - hour)) for hour, often in enumerate(usual)]

    def _draw_sources(self) -> list[_Source]:
        rnd = self._random
        of_people = [feature for feature in FEATURES if not feature.nightly]
        shares = [feature.share for feature in of_people]
        sources = []
        for place in range(self.users):
            name = NAMES[place % len(NAMES)]
            if place >= len(NAMES):
                name = f"{name}.{FAMILIES[(place // len(NAMES) - 1) % len(FAMILIES)]}"
            team = TEAMS[place % len(TEAMS)]
            weight = 1 / (place + 2) ** 1.05
            found: list[Feature] = []
            while len(found) < len(_OF_A_USER):
                (feature,) = rnd.choices(of_people, shares)
                if feature not in found and (feature.team is None or feature.team == team):
                    found.append(feature)
            for feature, part in zip(found, _OF_A_USER, strict=True):
                for environment, often in _ENVIRONMENTS:
                    if environment != "production" and team not in ("research", "platform"):
                        continue
                    tags = Tags(
                        user=name, feature=feature.name, route=feature.route, environment=environment, team=team
                    )
                    sources.append(_Source(tags, feature, weight * part * often))
        of_all = sum(source.share for source in sources)
        for feature in FEATURES:
            if feature.nightly:
                tags = Tags(feature=feature.name, environment="production")
                sources.append(_Source(tags, feature, of_all * feature.share))
        return sources

    def _draw(self, start: int, day: int, count: int) -> list[Drawn]:
        rnd, sources = self._random, self._sources
        places = rnd.choices(range(len(sources)), [source.share for source in sources], k=count)
        today = datetime.fromtimestamp(start // 10**9, UTC)
        usual = self._hours(today, _HOURS)
        night = self._hours(today, _NIGHT)
        night = night if any(night) else usual
        hours = rnd.choices(range(24), usual, k=count)
        pools: dict[Feature, list[Shape]] = {}
        drawn: list[Drawn] = []
        uniform = rnd.random
        for place, hour in zip(places, hours, strict=True):
            feature = sources[place].feature
            pool = pools.get(feature)
            if pool is None:
                pool = pools[feature] = self._pool(feature, start, day)
            if feature.nightly:
                (hour,) = rnd.choices(range(24), night)  # noqa: PLW2901 - the job has hours of its own
            shape = pool[int(uniform() * len(pool))]
            at = start + hour * _HOUR
            # Each has ended by `until`.
            room = min(_HOUR, self._end - shape.duration_ns - at)
            drawn.append((at + int(uniform() * room), place, shape))
        return drawn

    def _run_away(self, start: int, day: int, count: int) -> list[Drawn]:
        """An agent of one user that does not stop for three hours."""
        rnd = self._random
        agent = next(feature for feature in FEATURES if feature.runs_away)
        place = next(
            (place for place, source in enumerate(self._sources) if source.feature is agent and place > 3), None
        )
        if place is None:
            return self._draw(start, day, count)
        pool = self._pool(agent, start, day)
        hours = rnd.choices(_SPIKE_HOURS, k=count)
        return [(start + hour * _HOUR + int(rnd.random() * _HOUR), place, rnd.choice(pool)) for hour in hours]

    def _pool(self, feature: Feature, start: int, day: int) -> list[Shape]:
        """What the calls of a feature may look like on a day, each with the models in use then."""
        pool: list[Shape] = []
        gone = day / self.days
        for model in feature.in_use(gone):
            rates = self._book.rates(model.provider, model.name, start)
            key = (feature.name, model.name, rates)
            if key not in self._pools:
                # A seed of its own: what one feature is like does not hang on which came before it.
                own = Random(f"{feature.name}/{model.name}")
                self._pools[key] = shapes(own, feature, model, rates)
            known = self._pools[key]
            pool += known[: round(len(known) * model.part)]
        return pool


def _ended(drawn: Drawn) -> int:
    return drawn[0] + drawn[2].duration_ns
