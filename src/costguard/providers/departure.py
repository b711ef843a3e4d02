"""The steps that the wrappers of SDKs on httpx have in common: sent, answered, declined."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from costguard.providers.flight import Flight

_UNREACHED = frozenset(("ClientConnectorError", "NewConnectionError", "NameResolutionError", "ConnectTimeoutError"))
"""Errors of aiohttp and urllib3: no connection was made."""
_MOST_CAUSES = 16


class Declined(Exception):
    """The provider answered with an error status, which this SDK does not raise where it is called."""

    def __init__(self, status_code: int) -> None:
        super().__init__(f"status {status_code}")
        self.status_code = status_code


class Changes(dict[str, Any]):
    """What is to be altered in the body, as `begin_call` wants it: called until the request is made."""

    def __call__(self, **fields: Any) -> bool:
        self.update(fields)
        return True


def host_of(url: Any) -> str:
    try:
        return urlsplit(str(url)).hostname or ""
    except ValueError:
        return ""


def arrived(flight: Flight, response: Any) -> None:
    """An httpx response is here: it is declined, or read now or as it passes."""
    status = response.status_code
    if isinstance(status, int) and status >= 400:
        flight.failed(Declined(status))
    else:
        flight.tap(response)


def failed(flight: Flight, error: BaseException) -> None:
    """The SDK raised: also the status of an error that only its response knows counts, and that nothing was sent."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    for name in ("status", "http_status"):
        status = status or getattr(error, name, None)
    if getattr(error, "status_code", None) is None and isinstance(status, int) and status >= 400:
        error = Declined(status)
    elif any(type(cause).__name__ in _UNREACHED for cause in _causes(error)):
        flight.call.attempts = 0
    flight.failed(error)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came from; urllib3, under requests, keeps that in `reason` or among its arguments."""
    waiting: list[Any] = [error]
    seen: list[BaseException] = []
    while waiting and len(seen) < _MOST_CAUSES:
        cause = waiting.pop()
        if isinstance(cause, BaseException) and not any(cause is each for each in seen):
            seen.append(cause)
            yield cause
            waiting += [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args[:1]]


def given(fields: Mapping[str, Any], *omitted: Any) -> dict[str, Any]:
    """Fields without those that an SDK marks as left out."""
    return {name: value for name, value in fields.items() if not any(value is each for each in omitted)}
