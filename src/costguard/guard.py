"""The guard: builds the stack, answers the provider wrappers, and is what an app talks to."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from costguard import settings
from costguard.admission import Admission, OnStoreFailure, OnUnpriced
from costguard.asking import Asking
from costguard.beside import outbox_of, rules_of, schedule_of, source_of
from costguard.budget_set import BudgetSet
from costguard.budgets import Budget, Holds
from costguard.call import Call
from costguard.closing import Closing
from costguard.correcting import Correcting
from costguard.events import Downgraded, Hold, Hook, Outcome, Refused, Settled
from costguard.holds import HoldSizer
from costguard.ledger.base import Ledger
from costguard.ledger.refusal_counts import RefusalCounts
from costguard.ledger.stack import Engine, build
from costguard.notices import Notices
from costguard.offload import Offload, finished
from costguard.overshoot import Overshoot
from costguard.pricing.book import PriceBook
from costguard.providers import collected
from costguard.recorder import Recorder
from costguard.routes import budget_route, feature_route
from costguard.watchers import Watchers

log = logging.getLogger("costguard")

_ALL: Mapping[str, str] = MappingProxyType({})

F = TypeVar("F", bound=Callable[..., Any])


class Guard(Asking, Closing, Correcting):
    """Budgets over one ledger.

    store:             `sqlite:///costs.db`, `postgresql://...`, `memory://`, or a `Ledger`
    budgets:           lines such as "$5/day per user", or `Budget` values
    alerts:            channels: callables of one `Alert`, e.g. `slack(url)`
    prices:            overrides, USD per million tokens: {"openai/my-model": {"input": "1.25", "output": "10"}};
                       or the path of a price list, its https address, or a list of these, the first first
    holds:             "learned": hold what such calls really cost; "strict": hold the most this one can cost
    on_store_failure:  "allow": serve, keep the cost, count it when the store is back; "refuse": HTTP 503
    on_unpriced:       "allow" (recorded without a cost; refused by strict budgets), "assume" (the dearest
                       known price of that provider) or "refuse"
    wait:              seconds a call waits for running calls to settle when money is left but held by them
    hold_lifetime:     seconds after which the hold of a call that never ended is charged
    hooks:             callables that hear `Settled`, `Refused` and `Downgraded`
    fit:               a call that does not fit gets a shorter answer instead of a refusal: its `max_tokens` (or what
                       the API calls it) is lowered to what is left, never below `fit_floor` tokens
    observe:           every decision is made and told (`Refused.observed`), nothing is refused
    stop_at_limit:     a stream ends when what has come is worth its hold, by estimate
    budget_file:       a TOML file of budgets; changes take effect within seconds
    engine:            "leases" (the default but for memory): what calls may spend is leased from the store in slices,
                       and a local journal brings it the entries. "direct": each is a transaction of the store
    journal:           its directory, if not the usual place; False for none
    refresh:           seconds between two looks for changed price lists; None: files are read once, addresses fetched
                       once, by a thread that the start does not wait for
    alert_rules:       what else the channels are told, lines such as "burn fast" or "digest daily 09:00"; those of
                       the budget file's [alerts] are added
    dashboard_url:     where people open the dashboard: alerts link to it
    balances:          "valkey://host:6379/0": balances and holds in Valkey or Redis instead of the store

    Raises ConfigError for wrong settings, StoreUnavailable if the store cannot be opened.
    """

    def __init__(  # noqa: PLR0917 - the first seven are the fixed public signature
        self,
        store: str | Ledger,
        budgets: Iterable[str | Budget] = (),
        alerts: Sequence[Callable[[Any], Any]] = (),
        prices: Mapping[str, Any] | str | PathLike[str] | Sequence[Any] | None = None,
        holds: Holds = "learned",
        on_store_failure: OnStoreFailure = "allow",
        on_unpriced: OnUnpriced = "allow",
        *,
        wait: float = 10.0,
        hold_lifetime: float = 900.0,
        hooks: Iterable[Hook] = (),
        fit: bool = False,
        fit_floor: int = 256,
        observe: bool = False,
        stop_at_limit: bool = False,
        budget_file: str | Path | None = None,
        engine: Engine | None = None,
        journal: str | Path | Literal[False] | None = None,
        balances: str | None = None,
        refresh: float | None = None,
        alert_rules: Iterable[Any] = (),
        dashboard_url: str | None = None,
    ) -> None:
        collected.notice()
        terms = dict(wait=wait, fit=fit, fit_floor=fit_floor, observe=observe, stop_at_limit=stop_at_limit)  # noqa: C408
        settings.check(
            holds=holds, on_store_failure=on_store_failure, on_unpriced=on_unpriced, hold_lifetime=hold_lifetime,
            **terms,
        )  # fmt: skip
        self._budgets = BudgetSet(budgets)
        self._book = PriceBook(prices, refresh=refresh)
        # Half a second that the first call, on the event loop, would wait for otherwise.
        self._book.warm()
        self._hooks: list[Hook] = list(hooks)
        sizer, tokens = HoldSizer(holds), HoldSizer(holds)
        told = settings.channels(alerts)
        rules = rules_of(alert_rules, budget_file, channels=bool(told))
        self._outbox: Any = None
        self._closed = False
        self.ledger = build(store, engine=engine, journal=journal, balances=balances, told=self._wake)
        self.ledger.open()
        self._refusals = RefusalCounts(self.ledger)
        self._schedule = (
            schedule_of(self.ledger, rules, self._budgets, self._wake, budget_file, self._refusals) if told else None
        )
        self._outbox = outbox_of(self.ledger, told, self._schedule, dashboard_url)
        self._offload = Offload()
        self._overshoot = Overshoot(self.ledger)
        notices = Notices(self.ledger, self._book, self._offload, self._wake)
        self._book.ages.told = notices.stale
        self._admission = Admission(
            self.ledger,
            self._book,
            self._budgets,
            sizer,
            tokens=tokens,
            offload=self._offload,
            on_unpriced=on_unpriced,
            on_store_failure=on_store_failure,
            hold_lifetime_ns=int(hold_lifetime * 10**9),
            emit=self._emit,
            told=self._wake,
            settings=terms,
        )
        self._recorder = Recorder(
            self.ledger, self._book, sizer, on_unpriced=on_unpriced, hooks=self._hooks, emit=self._emit,
            tokens=tokens, overshoot=self._overshoot, notices=notices,
        )  # fmt: skip
        self._source = source_of(self._budgets, self.ledger, budget_file)
        self._book.start()
        self._installed = False
        self._watchers = Watchers()
        for hook in self._hooks:
            self._watchers.add(hook, self)
        if self._schedule is not None:
            self._hooks.append(self._schedule.watch)
            self._schedule.begin()

    # The two verbs that the provider wrappers call (providers.policy.Policy).

    def reserve(self, call: Call) -> None:
        """Hold the expected cost of a call, or raise `BudgetExceeded`, `UnpricedModel` or `StoreUnavailable`."""
        if self._closed:
            self._use_again()
        if self._watchers:
            self._watchers.began(call)
        try:
            delays = self._admission.begin(call, True)
            if delays is None:
                return
            for delay in delays:
                time.sleep(delay)
        except BaseException as error:
            self._admission.not_made(call, error)
            self._watchers.ended(call)
            raise

    async def reserve_async(self, call: Call) -> None:
        """`reserve` for async code: it waits without blocking the event loop."""
        if self._closed:
            self._use_again()
        if self._watchers:
            self._watchers.began(call)
        try:
            delays = self._admission.begin(call, False)
            if delays is None:
                return
            if self._admission.near:
                from anyio import sleep

                for delay in delays:
                    await sleep(delay)
        except BaseException as error:
            # A coroutine that nobody waits for any more may be ended by a garbage collection.
            collected.tell(partial(self._admission.not_made, call, error))
            self._watchers.ended(call)
            raise
        if not self._admission.near:
            try:
                await self._admission.elsewhere(call, delays)
            except BaseException:
                self._watchers.ended(call)
                raise

    def settling(self, call: Call, outcome: Outcome) -> Callable[[], Awaitable[None]] | None:
        """`settle` for async code: None if it is done, else what waits until another thread has done it.

        To wait is not necessary for it to be done; whoever waits may be cancelled.
        """
        hold: Hold | None = call.hold
        if (
            self._admission.near
            or collected.is_running()
            # Leases are settled in this process.
            or (hold is not None and hold.leases)
            or self.ledger.local(hold or Hold(call, (), 0, 0))
        ):
            self.settle(call, outcome)
            return None
        return partial(finished, self._offload.submit(partial(self.settle, call, outcome)))

    def settle(self, call: Call, outcome: Outcome) -> None:
        """Record what a call cost. Never raises: what goes wrong here must not cost the caller a paid answer."""
        if collected.is_running():
            # This thread may hold the lock of the ledger.
            collected.tell(partial(self.settle, call, outcome))
            return
        try:
            self._recorder.record(call, outcome)
        except Exception:
            log.exception("costguard could not record call %s (%s %s)", call.id, call.provider, call.model)
        if call.watched:
            self._watchers.ended(call)

    def budget(
        self, limit: str, per: str | Sequence[str] = (), *, where: Mapping[str, str] = _ALL, holds: Holds | None = None
    ) -> Callable[[F], F]:
        """Route decorator: a budget for this route alone, checked at the door (sync and async views).

        >>> @app.post("/summarize")
        ... @guard.budget("$0.50/day", per="user")
        ... async def summarize(text: str): ...
        """
        door = self._admission.check, self._admission.check_async
        return budget_route(self._budgets, *door, limit, per=per, where=where, holds=holds)

    def feature(self, name: str) -> Callable[[F], F]:
        """Route decorator: the calls of this route, its stream and background tasks carry feature=`name`."""
        return feature_route(name)

    def add_hook(self, hook: Hook) -> None:
        """`hook` hears every `Settled`, `Refused` and `Downgraded` from now on."""
        self._hooks.append(hook)
        self._watchers.add(hook, self)

    def instrument(self, *, usage_hosts: Iterable[str] = ()) -> None:
        """Patch every installed SDK, also those imported later. Idempotent; undo with `uninstrument`.

        usage_hosts: more hosts that accept `stream_options.include_usage`, e.g. "llm.internal" or "10.0.0.5:8000"
        """
        from costguard.providers import instrument

        if self._closed:
            self._use_again()
        instrument.install(self, usage_hosts=usage_hosts)
        self._installed = True

    def uninstrument(self) -> None:
        """Undo `instrument`. Idempotent."""
        if self._installed:
            from costguard.providers import instrument

            instrument.uninstall(self)
            self._installed = False

    def _emit(self, event: Settled | Refused | Downgraded) -> None:
        if isinstance(event, Settled):
            if event.crossings:
                self._wake()
        elif isinstance(event, Refused):
            self._refusals.add(event)
        for hook in self._hooks:
            try:
                hook(event)
            except Exception:
                log.exception("hook %r failed; the call goes on", hook)

    def _wake(self) -> None:
        if self._outbox is not None and not self._closed:
            self._outbox.wake()
