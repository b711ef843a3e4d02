"""The guard: builds the stack, answers the provider wrappers, and is what an app talks to."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any, TypeVar, get_args

from costguard.admission import Admission, OnStoreFailure, OnUnpriced
from costguard.budget_set import BudgetSet
from costguard.budgets import Budget, Holds, Standing
from costguard.call import Call
from costguard.errors import ConfigError, CostGuardError, StoreUnavailable
from costguard.events import Entry, Hook, Outcome, Refused, Settled
from costguard.holds import HoldSizer
from costguard.ledger.base import Ledger
from costguard.ledger.opening import open_ledger
from costguard.money import from_nanos
from costguard.pricing.book import PriceBook
from costguard.pricing.receipt import Receipt
from costguard.pricing.usage import Usage
from costguard.recorder import Recorder
from costguard.routes import budget_route, feature_route
from costguard.tags import Tags, current_tags

log = logging.getLogger("costguard")

_ALL: Mapping[str, str] = MappingProxyType({})

F = TypeVar("F", bound=Callable[..., Any])


class Guard:
    """Budgets over one ledger.

    store:             `sqlite:///costs.db`, `postgresql://...`, `memory://`, or a `Ledger`
    budgets:           lines such as "$5/day per user", or `Budget` values
    alerts:            channels: callables of one `Alert`, e.g. `slack(url)`
    prices:            overrides, USD per million tokens: {"openai/my-model": {"input": "1.25", "output": "10"}}
    holds:             "learned": hold what such calls really cost; "strict": hold the most this one can cost
    on_store_failure:  "allow": serve, keep the cost, count it when the store is back; "refuse": HTTP 503
    on_unpriced:       "allow" (recorded without a cost; refused by strict budgets), "assume" (the dearest
                       known price of that provider) or "refuse"
    wait:              seconds a call waits for running calls to settle when money is left but held by them
    hold_lifetime:     seconds after which the hold of a call that never ended is charged
    hooks:             callables that hear `Settled` and `Refused`

    Raises ConfigError for wrong settings, StoreUnavailable if the store cannot be opened.
    """

    def __init__(  # noqa: PLR0917 - the first seven are the fixed public signature
        self,
        store: str | Ledger,
        budgets: Iterable[str | Budget] = (),
        alerts: Sequence[Callable[[Any], Any]] = (),
        prices: Mapping[str, Any] | None = None,
        holds: Holds = "learned",
        on_store_failure: OnStoreFailure = "allow",
        on_unpriced: OnUnpriced = "allow",
        *,
        wait: float = 10.0,
        hold_lifetime: float = 900.0,
        hooks: Iterable[Hook] = (),
    ) -> None:
        _one_of("holds", holds, get_args(Holds))
        _one_of("on_store_failure", on_store_failure, get_args(OnStoreFailure))
        _one_of("on_unpriced", on_unpriced, get_args(OnUnpriced))
        for name, seconds in (("wait", wait), ("hold_lifetime", hold_lifetime)):
            if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < 10**6:
                raise ConfigError(f"{name} is {seconds!r}; give seconds, zero or more")
        self._budgets = BudgetSet(budgets)
        self._book = PriceBook(prices)
        # Half a second that the first call, on the event loop, would wait for otherwise.
        self._book.warm()
        self._hooks: list[Hook] = list(hooks)
        self._sizer = HoldSizer(holds)
        self.ledger = open_ledger(store)
        self.ledger.open()
        self._outbox = _outbox(self.ledger, _channels(alerts))
        self._admission = Admission(
            self.ledger,
            self._book,
            self._budgets,
            self._sizer,
            wait=wait,
            on_unpriced=on_unpriced,
            on_store_failure=on_store_failure,
            hold_lifetime_ns=int(hold_lifetime * 10**9),
            emit=self._emit,
            told=self._wake,
        )
        self._recorder = Recorder(
            self.ledger, self._book, self._sizer, on_unpriced=on_unpriced, hooks=self._hooks, emit=self._emit
        )
        self._installed = False
        if self._outbox is not None and self.ledger.undelivered():
            self._wake()

    # The two verbs that the provider wrappers call (providers.policy.Policy).

    def reserve(self, call: Call) -> None:
        """Hold the expected cost of a call, or raise `BudgetExceeded`, `UnpricedModel` or `StoreUnavailable`."""
        try:
            delays = self._admission.begin(call, True)
            if delays is None:
                return
            for delay in delays:
                time.sleep(delay)
        except BaseException as error:
            self._admission.not_made(call, error)
            raise

    async def reserve_async(self, call: Call) -> None:
        """`reserve` for async code: it waits without blocking the event loop."""
        try:
            delays = self._admission.begin(call, False)
            if delays is None:
                return
            from anyio import sleep

            for delay in delays:
                await sleep(delay)
        except BaseException as error:
            self._admission.not_made(call, error)
            raise

    def settle(self, call: Call, outcome: Outcome) -> None:
        """Record what a call cost. Never raises: what goes wrong here must not cost the caller a paid answer."""
        try:
            self._recorder.record(call, outcome)
        except Exception:
            log.exception("costguard could not record call %s (%s %s)", call.id, call.provider, call.model)

    # What an app asks.

    @property
    def budgets(self) -> tuple[Budget, ...]:
        """All budgets, those of route decorators included once their route was called."""
        return tuple(self._budgets)

    def check(self, tags: Tags | Mapping[str, object] | None = None) -> None:
        """Raise `BudgetExceeded` if a budget that these tags (default: the current ones) fall under is spent."""
        self._admission.check(current_tags() if tags is None else tags if isinstance(tags, Tags) else Tags(tags))

    def standings(self, **tags: object) -> list[Standing]:
        """The budgets that a call with these tags counts against, and where they stand."""
        limits = self._budgets.limits(Tags(tags), time.time_ns())
        balances = self.ledger.balances(limits)
        return [limit.standing(spent, held) for limit, (spent, held) in zip(limits, balances, strict=True)]

    def spent(self, *, since: datetime | timedelta | None = None, **tags: object) -> Decimal:
        """USD recorded for calls with these tags, all time, or since a moment (or that long ago)."""
        return from_nanos(self.ledger.spent(Tags(tags), since_ns=_since(since)))

    def entries(self, *, since: datetime | timedelta | None = None, limit: int = 1000, **tags: object) -> list[Entry]:
        """The ledger's entries with these tags, newest first."""
        return self.ledger.entries(Tags(tags), since_ns=_since(since), limit=limit)

    def price(
        self,
        provider: str,
        model: str,
        usage: Usage | Mapping[str, int],
        at: datetime | None = None,
        **context: object,
    ) -> Receipt:
        """What a usage costs: the arithmetic alone. `context`: service_tier="flex", batch=True, ...

        An unknown model gives a receipt whose `cost` is None, with the `reason`.
        """
        if not isinstance(usage, Usage):
            usage = Usage.read(usage)
        facts = {name: str(value).lower() for name, value in context.items() if value not in (None, False)}
        return self._book.receipt(provider, model, usage, _ns(at or datetime.now(UTC)), tuple(sorted(facts.items())))

    def budget(
        self, limit: str, per: str | Sequence[str] = (), *, where: Mapping[str, str] = _ALL, holds: Holds | None = None
    ) -> Callable[[F], F]:
        """Route decorator: a budget for this route alone, checked at the door (sync and async views).

        >>> @app.post("/summarize")
        ... @guard.budget("$0.50/day", per="user")
        ... async def summarize(text: str): ...
        """
        return budget_route(self._budgets, self._admission.check, limit, per=per, where=where, holds=holds)

    def feature(self, name: str) -> Callable[[F], F]:
        """Route decorator: the calls of this route, its stream and background tasks carry feature=`name`."""
        return feature_route(name)

    def add_hook(self, hook: Hook) -> None:
        """`hook` hears every `Settled` and `Refused` from now on."""
        self._hooks.append(hook)

    def instrument(self, *, usage_hosts: Iterable[str] = ()) -> None:
        """Patch every installed SDK, also those imported later. Idempotent; undo with `uninstrument`.

        usage_hosts: more hosts that accept `stream_options.include_usage`, e.g. "llm.internal" or "10.0.0.5:8000"
        """
        from costguard.providers import instrument

        instrument.install(self, usage_hosts=usage_hosts)
        self._installed = True

    def uninstrument(self) -> None:
        """Undo `instrument`. Idempotent."""
        if self._installed:
            from costguard.providers import instrument

            instrument.uninstall(self)
            self._installed = False

    def flush(self, timeout: float = 10.0) -> None:
        """Record and deliver all there is, within `timeout` seconds.

        Raises StoreUnavailable if entries still wait for the store, CostGuardError if alerts are undelivered.
        """
        from costguard.providers.collected import drain

        # Streams that were dropped are settled by a thread.
        drain(timeout)
        waiting = self._recorder.retry(timeout)
        if waiting:
            raise StoreUnavailable(
                f"{waiting} entries are not in the ledger {self.ledger.url} yet; they wait in memory"
            )
        if self._outbox is not None:
            left = self._outbox.flush(timeout)
            if left:
                raise CostGuardError(f"{left} alerts are not delivered yet; they are kept and tried again")

    def close(self, timeout: float = 10.0) -> None:
        """Uninstrument, flush, and let go of the store. The errors are those of `flush`."""
        self.uninstrument()
        try:
            self.flush(timeout)
        finally:
            if self._outbox is not None:
                self._outbox.close()
            self.ledger.close()

    def __enter__(self) -> Guard:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _emit(self, event: Settled | Refused) -> None:
        if isinstance(event, Settled) and event.crossings:
            self._wake()
        for hook in self._hooks:
            try:
                hook(event)
            except Exception:
                log.exception("hook %r failed; the call goes on", hook)

    def _wake(self) -> None:
        if self._outbox is not None:
            self._outbox.wake()


def _outbox(ledger: Ledger, channels: tuple[Callable[[Any], Any], ...]) -> Any:
    """Only an app that wants to be told loads what tells it."""
    if not channels:
        return None
    from costguard.alerts.outbox import Outbox

    return Outbox(ledger, channels)


def _one_of(name: str, value: object, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name} is {value!r}; use one of {', '.join(map(repr, allowed))}")


def _channels(alerts: Sequence[Callable[[Any], Any]]) -> tuple[Callable[[Any], Any], ...]:
    if callable(alerts) or isinstance(alerts, str):
        raise ConfigError("alerts must be a list of channels, not one: alerts=[slack(url)]")
    for place, channel in enumerate(alerts):
        if not callable(channel):
            # Its value stays out of the message: it may be a webhook's URL, which is a secret.
            kind = type(channel).__name__
            raise ConfigError(f"alerts[{place}] is a {kind} and cannot be called; use slack(url) or a function")
    return tuple(alerts)


def _since(since: datetime | timedelta | None) -> int | None:
    if since is None:
        return None
    return _ns(datetime.now(UTC) - since if isinstance(since, timedelta) else since)


def _ns(moment: datetime) -> int:
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise ConfigError(f"{moment!r} is not a datetime with a time zone; use datetime(..., tzinfo=UTC)")
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
