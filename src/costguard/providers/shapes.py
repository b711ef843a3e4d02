"""The wrappers around an SDK's one request function: thin, in a sync and an async kind, over plain decisions.

A shape knows how a family of SDKs passes requests and answers. STAINLESS: `request(cast_to, options, ...)` of
`<package>._base_client`, which openai and anthropic share with a dozen others.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from costguard.providers.policy import Policy
from costguard.providers.rows import Provider
from costguard.providers.stainless import MARK, begin

log = logging.getLogger("costguard.providers")

PolicyOf = Callable[[], Policy | None]
"""Who answers now; None: nobody, and the call goes straight through."""

RequestFunction = Callable[..., Any]

RETRY = "_sleep_for_retry"


def _options(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return args[1] if len(args) > 1 else kwargs.get("options")


def sync_request(original: RequestFunction, row: Provider, policy_of: PolicyOf) -> RequestFunction:
    """Wrap an unbound `SyncAPIClient.request`."""

    @wraps(original)
    def request(self: Any, *args: Any, **kwargs: Any) -> Any:
        policy = policy_of()
        flight = None if policy is None else begin(row, policy, self, _options(args, kwargs), kwargs)
        if flight is None:
            return original(self, *args, **kwargs)
        if flight.holds:
            flight.policy.reserve(flight.call)
        try:
            flight.mark()
            result = original(self, *args, **kwargs)
        except BaseException as error:
            flight.failed(error)
            raise
        finally:
            flight.unmark()
        flight.arrived(result, is_async=False)
        return result

    return request


def async_request(original: RequestFunction, row: Provider, policy_of: PolicyOf) -> RequestFunction:
    """Wrap an unbound `AsyncAPIClient.request`."""

    @wraps(original)
    async def request(self: Any, *args: Any, **kwargs: Any) -> Any:
        policy = policy_of()
        flight = None if policy is None else begin(row, policy, self, _options(args, kwargs), kwargs)
        if flight is None:
            return await original(self, *args, **kwargs)
        flight.is_async = True
        if flight.holds:
            await flight.policy.reserve_async(flight.call)
        try:
            flight.mark()
            result = await original(self, *args, **kwargs)
        except BaseException as error:
            flight.failed(error)
            if isinstance(error, Exception):
                await flight.settled()
            raise
        finally:
            flight.unmark()
        flight.arrived(result, is_async=True)
        if flight.waits:
            await flight.settled()
        return result

    return request


def before_retry(original: RequestFunction) -> RequestFunction:
    """Wrap `_sleep_for_retry`, which an SDK calls between two attempts: one that died without an answer after it was
    sent may be billed all the same, and nobody tells."""

    @wraps(original)
    def _sleep_for_retry(client: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            flight = getattr(kwargs.get("options"), "__dict__", {}).get(MARK)
            if flight is not None and flight.marked and kwargs.get("response", ...) is None:
                flight.unanswered(sys.exc_info()[1])
        except Exception:
            log.exception("costguard cannot tell why a request is made again")
        return original(client, *args, **kwargs)

    return _sleep_for_retry


class Tripwire:
    """Wraps `BaseClient._build_request`, which runs once for every HTTP attempt, SDK retries included.

    It counts the attempts of a call, and notices requests that cost money and passed none of the wrappers:
    then it says so and has the classes patched anew.

    mend:  patches the classes again; what others put on one client it cannot reach
    """

    def __init__(self, row: Provider, policy_of: PolicyOf, mend: Callable[[Provider], None]) -> None:
        self._row = row
        self._policy_of = policy_of
        self._mend = mend
        self._warned: set[type] = set()

    def forget(self) -> None:
        """Speak up again of client classes that were spoken of."""
        self._warned.clear()

    def wrap(self, original: RequestFunction) -> RequestFunction:
        @wraps(original)
        def _build_request(client: Any, *args: Any, **kwargs: Any) -> Any:
            request = original(client, *args, **kwargs)
            options = args[0] if args else kwargs.get("options")
            flight = None if options is None else options.__dict__.get(MARK)
            if flight is not None and flight.marked:
                flight.call.attempts += 1
            elif flight is None and type(client) not in self._warned and self._policy_of() is not None:
                self._notice(client, options)
            return request

        return _build_request

    def _notice(self, client: Any, options: Any) -> None:
        try:
            route = self._row.route(options.method, options.url)
        except Exception:
            log.exception("costguard cannot tell whether a request costs money")
            return
        if route is not None and not route.poll:
            self._warned.add(type(client))
            log.warning(
                "a %s call (%s) was not seen by costguard: %s has a request function that another instrumentation put "
                "there or put back; its class is patched again now, a single client needs instrument(client, guard)",
                self._row.name,
                route.operation,
                type(client).__qualname__,
            )
            self._mend(self._row)
