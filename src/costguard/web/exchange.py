"""What every framework file shares: tags in, as plain values; a refusal out, as a plain response.

The web room knows neither the guard nor the providers. Going down it gives them the context frame
(`costguard.tags.Frame`); coming up it receives exceptions.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from costguard.baggage import read_baggage
from costguard.errors import ConfigError, CostGuardError, StandingLike
from costguard.money import from_nanos
from costguard.tags import Frame, Tags
from costguard.web.peers import Peers, Trust
from costguard.web.refusal import Response, amount, find_refusal, refusal

log = logging.getLogger("costguard.web")

FRAME_KEY = "costguard.frame"
"""Where a middleware leaves its frame in the scope or the environ of a request, for one further in. Context variables
do not do: servers begin a request on a kept connection in the context of the one before."""

Value = str | Callable[[Any], Any] | None
"""A tag's value, or a callable of the request that gives it (or None: unattributed)."""

MOST_DOWNGRADED = 5
"""Pairs of models that one response names."""

TagsOption = Mapping[str, Value] | Callable[[Any], Any] | None


class Door(Protocol):
    """What a middleware asks of a guard."""

    def check(self, tags: Tags | None = None) -> None:
        """Raise BudgetExceeded if a budget that applies to these tags has nothing left."""

    async def check_async(self, tags: Tags | None = None) -> None:
        """`check` for async frameworks: nothing is waited for on the event loop's thread."""

    def standings(self, **tags: str) -> Sequence[StandingLike]:
        """The budgets that apply to these tags, and where they stand."""
        ...

    async def standings_async(self, **tags: str) -> Sequence[StandingLike]:
        """`standings` for async frameworks."""
        ...


class Exchange:
    """The options of one middleware, checked once, and the decisions that need no framework.

    user, feature, environment: a value, or a callable of the request. What a callable raises becomes
        a ConfigError that names the tag: losing attribution silently is worse than an error the
        developer sees. An anonymous visitor is the callable's business: return None.
    tags:     further tags, name to value or callable; or one callable of the request that returns a mapping
    headers:  tag name to request header, for tags that nothing else gave. It trusts the caller: anybody
              who can send the header chooses who pays. Only for callers that you authenticate
              yourself, such as a gateway that strips the header from outside requests.
    cost_headers: tell the cost of the request, the remainder, the reset and a downgrade in the response
    amounts:  False keeps amounts of money out of refusals and of the remaining-header
    check:    ask the guard before the app runs; the route is not known yet, so budgets that count
              by route are better asked by the route's own decorator
    baggage:  networks (["10.0.0.0/8"]), or a callable of a peer's address, whose W3C baggage is believed: its tags
              (`costguard.user=alice`) count where nothing else gave them. With networks, all that the request says
              it was forwarded for (X-Forwarded-For, Forwarded, X-Real-IP) must be in them too. A callable answers for
              a peer, whoever is behind it: a gateway must take the header off what comes from outside
    """

    def __init__(
        self,
        guard: Door | None,
        *,
        user: Value = None,
        feature: Value = None,
        environment: Value = None,
        tags: TagsOption = None,
        headers: Mapping[str, str] | None = None,
        cost_headers: bool = False,
        amounts: bool = True,
        check: bool = False,
        baggage: Trust | None = None,
    ) -> None:
        given: dict[str, Value] = {
            name: value
            for name, value in (("user", user), ("feature", feature), ("environment", environment))
            if value is not None
        }
        asks: list[tuple[str, Callable[[Any], Any]]] = []
        if callable(tags):
            asks.append(("", tags))
        elif isinstance(tags, Mapping):
            for name, value in tags.items():
                if name in given:
                    raise ConfigError(f"tag {name!r} is given twice, as {name}= and in tags=; keep one")
                given[name] = value
        elif tags is not None:
            raise ConfigError(
                f"tags={tags!r} is a {type(tags).__name__}; give a mapping of tag names to values or callables, "
                f"or one callable of the request that returns a mapping"
            )
        if check and guard is None:
            raise ConfigError("check=True needs a guard to ask: give guard=")
        self.guard = guard
        self.fixed = Tags({name: value for name, value in given.items() if not callable(value)})
        # The callable for all tags comes first, so that a callable for one tag is the more specific and wins.
        self.asks = (*asks, *((name, value) for name, value in given.items() if callable(value)))
        self.headers = tuple(_headers(headers).items())
        self.cost_headers = cost_headers
        self.amounts = amounts
        self.check = check
        self.trusted = None if baggage is None else Peers(baggage)
        self.asks_request = bool(self.asks or self.headers or self.trusted)

    def frame(self, request: Mapping[str, Any], route: Callable[[], str | None]) -> Frame:
        """A frame for a request, inside of that of a middleware further out, whose tags it refines.

        request: its scope or environ
        """
        outer: Frame | None = request.get(FRAME_KEY)
        if outer is None:
            return Frame(self.fixed, route=route)
        further = outer.route
        return Frame(
            outer.tags.with_(self.fixed),
            parent=outer,
            route=route if further is None else lambda: route() or further(),
        )

    def failed(self, name: str, ask: Callable[[Any], Any], cause: BaseException) -> ConfigError:
        """What to raise, from `cause`, when the app's callable for a tag failed."""
        what = f"tag {name!r}" if name else "tags"
        called = getattr(ask, "__qualname__", None) or repr(ask)
        return ConfigError(
            f"the callable {called} for {what} raised {type(cause).__name__}: {cause}; "
            f"let it return None for a request that has no {name or 'tags'}"
        )

    def tags_of(
        self,
        answers: Iterable[tuple[str, Any]],
        header: Callable[[str], str | None] | None = None,
        peer: str | None = None,
    ) -> Tags:
        """The tags of a request: what the callables answered, then the headers for what is still missing, then the
        baggage of a peer that is trusted."""
        values: dict[str, object] = {}
        for name, answer in answers:
            if name:
                values[name] = answer
            elif isinstance(answer, Mapping):
                values.update(answer)
            elif answer is not None:
                raise ConfigError(
                    f"the callable for tags returned {answer!r}, a {type(answer).__name__}; return a mapping of "
                    f"tag names to values, or None"
                )
        if header is not None:
            for name, field in self.headers:
                if values.get(name) is None and name not in self.fixed:
                    values[name] = header(field)
            if peer is not None and self.trusted is not None and self.trusted.believes(peer, header):
                for name, value in read_baggage(header("baggage")).items():
                    if values.get(name) is None and name not in self.fixed:
                        values[name] = value
        return self.fixed.with_(values)

    def ask(self, request: object, header: Callable[[str], str | None], peer: str | None = None) -> Tags:
        """`tags_of` for frameworks that cannot wait."""
        answers = []
        for name, ask in self.asks:
            try:
                answer = ask(request)
            except CostGuardError:
                raise
            except Exception as cause:
                raise self.failed(name, ask, cause) from cause
            if may_be_awaited(answer):
                if hasattr(answer, "close"):
                    answer.close()
                raise ConfigError(
                    f"the callable for {f'tag {name!r}' if name else 'tags'} is async, and a WSGI app cannot wait "
                    f"for it; give a plain function"
                )
            answers.append((name, answer))
        return self.tags_of(answers, header, peer)

    async def ask_async(
        self, request: object, header: Callable[[str], str | None] | None, peer: str | None = None
    ) -> Tags:
        """`tags_of` for frameworks that can."""
        answers = []
        for name, ask in self.asks:
            try:
                answer = ask(request)
                if may_be_awaited(answer):
                    answer = await answer
            except CostGuardError:
                raise
            except Exception as cause:
                raise self.failed(name, ask, cause) from cause
            answers.append((name, answer))
        return self.tags_of(answers, header, peer)

    def knock(self, frame: Frame) -> None:
        """Ask at the door whether anything is left for these tags; raises BudgetExceeded."""
        if self.check and self.guard is not None:
            self.guard.check(frame.current())

    async def knock_async(self, frame: Frame) -> None:
        """`knock` on an event loop."""
        if self.check and self.guard is not None:
            await self.guard.check_async(frame.current())

    def answer(self, error: BaseException) -> Response | None:
        """The response to a refusal, if `error` is one or was made of one; None for any other error."""
        found = find_refusal(error)
        if found is None:
            return None
        if found is not error:
            # The error that carried it is not answered itself, so it must leave a trace somewhere.
            log.info("answered %s, found in %s", type(found).__name__, type(error).__name__, exc_info=error)
        return refusal(found, amounts=self.amounts)

    def cost_fields(self, frame: Frame) -> list[tuple[str, str]]:
        """X-CostGuard-Cost (USD of all calls of this request so far), -Remaining (USD) and -Reset (seconds).

        The last two are of the tightest budget. Where a budget had another model asked, X-CostGuard-Downgraded names
        both, as in "gpt-4o -> gpt-4o-mini", several with commas between them. Headers leave before the body, so for a
        stream the cost is that of the calls which ended before its first byte.
        """
        standings: Sequence[StandingLike] = ()
        if self.guard is not None:
            try:
                standings = self.guard.standings(**frame.current())
            except CostGuardError as error:
                log.warning("no remaining-header in this response: %s", error)
        return self._fields(frame, standings)

    async def cost_fields_async(self, frame: Frame) -> list[tuple[str, str]]:
        """`cost_fields` on an event loop."""
        standings: Sequence[StandingLike] = ()
        if self.guard is not None:
            try:
                standings = await self.guard.standings_async(**frame.current())
            except CostGuardError as error:
                log.warning("no remaining-header in this response: %s", error)
        return self._fields(frame, standings)

    def _fields(self, frame: Frame, standings: Sequence[StandingLike]) -> list[tuple[str, str]]:
        fields = [("X-CostGuard-Cost", amount(from_nanos(frame.cost)))]
        if frame.unpriced:
            # Unknown is not zero: the cost beside it does not hold these calls.
            fields.append(("X-CostGuard-Unpriced", str(frame.unpriced)))
        if frame.downgraded:
            fields.append(("X-CostGuard-Downgraded", _downgraded(frame)))
        tightest = min(standings, key=lambda standing: standing.remaining, default=None)
        if tightest is not None:
            if self.amounts:
                fields.append(("X-CostGuard-Remaining", amount(tightest.remaining)))
            if tightest.resets_at is not None:
                left = (tightest.resets_at - datetime.now(UTC)).total_seconds()
                fields.append(("X-CostGuard-Reset", str(max(0, int(left) + 1))))
        return fields


def _downgraded(frame: Frame) -> str:
    return ", ".join([f"{_plain(asked)} -> {_plain(model)}" for asked, model in frame.downgraded[:MOST_DOWNGRADED]])


def _plain(model: str) -> str:
    """The name of a model may come from a client: nothing of it ends the header, or looks like another name."""
    return "".join([letter for letter in model[:100] if letter.isascii() and letter.isprintable() and letter != ","])


def may_be_awaited(answer: object) -> bool:
    """`inspect.isawaitable` without its price on every request."""
    return type(answer) is not str and hasattr(answer, "__await__")


def _headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    if headers is None:
        return {}
    if not isinstance(headers, Mapping):
        raise ConfigError(f'headers={headers!r} must map tag names to request headers, like {{"user": "x-user-id"}}')
    Tags(dict.fromkeys(headers, "x"))
    for name, field in headers.items():
        if not isinstance(field, str) or not field.isascii() or not field.replace("-", "").replace("_", "").isalnum():
            raise ConfigError(f'header {field!r} for tag {name!r} is not a header name; write it like "x-user-id"')
    return {name: field.lower() for name, field in headers.items()}
