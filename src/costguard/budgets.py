"""Budgets: rules, written in one line, and where each payer stands against them.

    $5/day per user
    $500/month
    $200/day per user for user=alice
    100000 tokens/30d per team where environment=production tz Europe/Berlin

`per` names the scope (one account for each value of these tags), `where` the calls it counts, `for` whom the
limit is meant for. The whole language: docs/budgets.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, get_args

from costguard.balance_key import balance_key, compact
from costguard.budget_actions import DEFAULT_ALERTS, Actions, read_actions, read_fraction, refuses
from costguard.budget_text import HOW, read_fields, show_line, show_rule
from costguard.errors import ConfigError
from costguard.money import exact_difference, exact_sum
from costguard.tags import Tags
from costguard.units import Unit, at_rest, check_unit, from_rest, read_amount, share_of, show_amount, show_number
from costguard.windows import LOCAL_WINDOWS, Window, as_utc, buckets_beside, read_window, show_span, window_bounds, zone

Holds = Literal["learned", "strict"]
Computed = Callable[[Tags], Decimal | int | str | None]
"""Tags of a call to the limit of its payer; None: the budget does not apply to it."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A rule: at most `limit` in each `window`, counted by the tags in `per`, of calls that match `where`.

    limit:   USD (Decimal, int or string; never a float), or a whole number of tokens or calls; or `Computed`
    window:  hour, day, week (from Monday), month: calendar windows in time zone `tz`; ever; rolling, with a `span`
             (or the span itself: "30d", "24h", "90m"); call: a ceiling on one call; request: all calls of one
             HTTP request
    per:     tag names; each combination of their values is a payer with an account of its own.
             A call without one of these tags counts for the payer `unattributed`
    where:   tags and values that a call must have to be counted
    holds:   "learned" or "strict"; None takes the guard's
    alerts:  fractions of the limit at which people are told, once per payer and window
    name:    shown instead of the rule in messages; needed where the limit is a callable
    for_:    tags and values of those whom this limit is meant for. Of the rules of one account the most specific
             one that matches decides
    unit:    "usd", "tokens" or "calls"
    span:    how far back a rolling window reaches
    actions: pairs of a fraction of the limit and "alert", "downgrade:<model>", "fit" or "refuse". To refuse at 1
             goes without saying; "alert" at 1 in its place makes a budget that refuses nothing
    observe: decide and record, but refuse nothing
    account: what its balances are kept under. Without the limit, so that changing the limit keeps what was spent

    Raises ConfigError for anything it cannot mean.
    """

    limit: Decimal | Computed
    window: Window = "day"
    per: tuple[str, ...] = ()
    where: tuple[tuple[str, str], ...] = ()
    tz: str = "UTC"
    holds: Holds | None = None
    alerts: tuple[Decimal, ...] = DEFAULT_ALERTS
    name: str = ""
    for_: tuple[tuple[str, str], ...] = ()
    unit: Unit = "usd"
    span: timedelta | None = None
    actions: Actions = ()
    observe: bool = False
    account: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_unit(self.unit)
        for name in ("name", "tz"):
            if not isinstance(getattr(self, name), str):
                raise ConfigError(f"budget {name} {getattr(self, name)!r} must be a string")
        if self.holds not in (None, *get_args(Holds)):
            raise ConfigError(f"budget holds {self.holds!r} must be 'learned' or 'strict'")
        per = (self.per,) if isinstance(self.per, str) else tuple(self.per)
        Tags(dict.fromkeys(per, "x"))
        if len(set(per)) < len(per):
            raise ConfigError(f"budget scope per {','.join(per)} names a tag twice")
        window, span = read_window(self.window, self.span)
        zone(self.tz)
        where, for_ = _tags("where", self.where), _tags("for", self.for_)
        alerts = {read_fraction(alert, what="alert fraction") for alert in self.alerts}
        account: list[Any] = [show_span(span) if span else window, self.tz, per, dict(where)]
        if self.unit != "usd":
            account.append(self.unit)
        for name, value in (
            ("limit", self._checked_limit(for_)), ("window", window), ("span", span), ("per", per), ("where", where),
            ("for_", for_), ("alerts", tuple(sorted(alerts))), ("actions", read_actions(self.actions)),
            ("observe", bool(self.observe)), ("account", compact(account)),
        ):  # fmt: skip
            object.__setattr__(self, name, value)

    def _checked_limit(self, for_: tuple[tuple[str, str], ...]) -> Decimal | Computed:
        if callable(self.limit):
            if not self.name:
                raise ConfigError(f"a budget whose limit is computed by {self.limit!r} needs a name=, to be told by")
            return self.limit
        limit = read_amount(self.limit, self.unit, what="budget limit")
        if limit == 0 and not for_:
            raise ConfigError(
                f"budget limit is {show_amount(limit, self.unit)}, which would refuse every call; give an amount "
                f"above zero, or say whom it is for"
            )
        return limit

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read a budget from one line; the reverse of `str(budget)`."""
        if not isinstance(text, str):
            raise ConfigError(f"budget {text!r} is a {type(text).__name__}, not a line of text; {HOW}")
        try:
            return cls(**read_fields(text))
        except ConfigError as error:
            said = str(error)
            raise ConfigError(said if repr(text) in said else f"budget {text!r}: {said}") from None

    def __str__(self) -> str:
        """The line that `parse` reads as this budget. One that is computed has no such line: it prints its name."""
        return show_line(self)

    @property
    def rule(self) -> str:
        """The beginning of the line: what is counted, and how much of it there may be; for people."""
        return show_rule(self)

    @property
    def title(self) -> str:
        return self.name or self.rule

    @property
    def scope(self) -> tuple[str, ...]:
        return self.per

    @property
    def period(self) -> str:
        """The window as it is written: "day", "30d"."""
        return show_span(self.span) if self.span else self.window

    @property
    def identity(self) -> str:
        """What tells this rule from others, wherever it comes from: its account, and whom it is for."""
        return compact([self.account, dict(self.for_)])

    @property
    def is_local(self) -> bool:
        """Counted in the process of the call, for one call or one request; no ledger has a balance of it."""
        return self.window in LOCAL_WINDOWS

    def counts(self, tags: Tags) -> bool:
        return all(tags.value(name) == value for name, value in self.where)

    def limit_for(self, tags: Tags, at_ns: int, granted: int = 0) -> Limit:
        """This budget applied to the payer of these tags, in the window of this moment."""
        start, end = window_bounds(self.window, self.tz, at_ns, self.span)
        return Limit(self, tuple((name, tags.value(name)) for name in self.per), start, end, granted)


class Limit:
    """A budget applied to one payer in one window.

    key:         what its balance is stored under: account, payer and window start
    unit:        what it counts: "usd", "tokens" or "calls"; its integers are nano-dollars, tokens or calls
    most:        the limit, an integer of its unit, with what was granted and without `prior`
    marks:       the spending, in the unit, at which people are told, with the fraction it is
    actions:     the spending from which something is done, with what: pairs, ascending; () where it only refuses
    refuses:     False if what does not fit is only told
    observe:     decisions are recorded, nothing is refused
    prior:       what the earlier buckets of a rolling window have used; it is no part of this balance
    start, end:  nanoseconds since 1970; end is None for `ever`; of the bucket for a rolling window
    """

    __slots__ = (
        "_before", "actions", "budget", "end", "key", "marks", "most", "observe", "payer", "prior", "refuses",
        "start", "unit",
    )  # fmt: skip

    def __init__(
        self, budget: Budget, payer: tuple[tuple[str, str], ...], start: int, end: int | None, granted: int = 0
    ) -> None:
        if not isinstance(budget.limit, Decimal):
            raise ConfigError(f"budget {budget.name!r} computes its limit; ask a BudgetSet for its limits")
        self.budget = budget
        self.payer = payer
        self.start = start
        self.end = end
        self.unit: Unit = budget.unit
        self.prior = 0
        self.most = most = at_rest(budget.limit, budget.unit) + granted
        self.marks = tuple((share_of(most, at), at) for at in _told(budget)) if most else ()
        self.actions = tuple((share_of(most, at), action) for at, action in budget.actions)
        self.refuses = refuses(budget.actions)
        self.observe = budget.observe
        self.key = balance_key(budget.account, [value for _, value in payer], start)
        self._before: tuple[Limit, ...] | None = None

    @property
    def before(self) -> tuple[Limit, ...]:
        """The other buckets whose spending counts in this one, the next one included; () unless it is rolling."""
        span = self.budget.span
        if span is None:
            return ()
        if self._before is None:
            beside = buckets_beside(span, self.budget.tz, self.start)
            self._before = tuple(Limit(self.budget, self.payer, start, end) for start, end in beside)
        return self._before

    def over(self, prior: int) -> Limit:
        """This limit as it is when the other buckets have used this much: marks that they passed are left out."""
        if not prior:
            return self
        lowered = Limit.__new__(Limit)
        for name in ("budget", "payer", "start", "end", "unit", "key", "refuses", "observe", "_before"):
            setattr(lowered, name, getattr(self, name))
        lowered.prior = self.prior + prior
        lowered.most = self.most - prior
        lowered.marks = tuple((mark - prior, at) for mark, at in self.marks if mark > prior)
        lowered.actions = tuple((threshold - prior, action) for threshold, action in self.actions)
        return lowered

    @property
    def told_as(self) -> str:
        """What its crossings are known by: its key; of a rolling one, one for each span of time that has passed, as
        people are not told anew in every bucket."""
        span = self.budget.span
        if span is None:
            return self.key
        number = self.start // (span // timedelta(microseconds=1) * 1000)
        return f"{self.key[: self.key.rindex(',')]},{number}*{self.budget.period}]"

    @property
    def resets_at(self) -> datetime | None:
        """When the window ends; of a rolling one, when its oldest spending begins to fall out."""
        return None if self.end is None else as_utc(self.end)

    def standing(self, spent: int, held: int) -> Standing:
        payer = ",".join(f"{name}={value}" for name, value in self.payer) or "everyone"
        unit = self.unit
        limit, spent = self.most + self.prior, spent + self.prior
        return Standing(
            self.budget, payer, from_rest(limit, unit), from_rest(spent, unit), from_rest(held, unit),
            self.resets_at, unit,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Standing:
    """A limit and where it stands: amounts in its unit (USD unless it says so), `resets_at` in UTC (None: never)."""

    budget: Budget
    payer: str
    limit: Decimal
    spent: Decimal
    held: Decimal
    resets_at: datetime | None
    unit: Unit = "usd"

    @property
    def remaining(self) -> Decimal:
        """What a new hold can take: never below zero."""
        return max(Decimal(0), exact_difference(self.limit, exact_sum((self.spent, self.held))))

    def __str__(self) -> str:
        budget, unit = self.budget, self.unit
        held = f" and {show_amount(self.held, unit)} is held by running calls" if self.held else ""
        scope = f"per {','.join(budget.per)}, " if budget.per else ""
        resets = "never resets"
        if budget.is_local:
            resets = f"counted anew for each {budget.window}"
        elif self.resets_at is not None:
            resets = f"{'the first of it returns' if budget.span else 'resets'} {self.resets_at:%Y-%m-%dT%H:%MZ}"
        return (
            f"{self.payer} has spent {show_number(self.spent, unit)} of {show_amount(self.limit, unit)}"
            f" ({scope}{budget.period}){held}; {resets}"
        )


def _tags(what: str, given: Mapping[str, str] | tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    pairs = dict(given)
    tags = Tags(pairs)
    for name in pairs.keys() - tags.keys():  # without it the budget would be for everybody
        raise ConfigError(f"budget {what} {name}={pairs[name]!r} has no value; give one, or leave {name} out")
    return tuple(tags.items())


def _told(budget: Budget) -> list[Decimal]:
    """The fractions at which people are told."""
    return sorted({*budget.alerts, *(at for at, action in budget.actions if action == "alert")})
