"""A refusal as a plain HTTP response: status, headers and a problem document (RFC 9457)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, timedelta
from decimal import Decimal
from typing import Any

from costguard.errors import BudgetExceeded, StandingLike, StoreUnavailable, UnpricedModel
from costguard.money import show_usd

Refusal = BudgetExceeded | UnpricedModel | StoreUnavailable
REFUSALS = (BudgetExceeded, UnpricedModel, StoreUnavailable)

QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
"""draft-ietf-httpapi-ratelimit-headers-11, section 5.1, with its member `violated-policies`."""

WINDOW_SECONDS = {"hour": 3600, "day": 86400, "week": 604800}
"""A month has no one length, so its policy names none: `w` is optional."""

_MAX_CHAIN = 64
_MAX_REASON = 123
"""Bytes of a WebSocket close reason: a control frame holds 125, two of them the code (RFC 6455, 5.5)."""


@dataclass(frozen=True, slots=True)
class Response:
    """A whole response.

    status, reason: 429, "Too Many Requests"
    headers:        name and value, Content-Type and Content-Length among them
    body:           a problem document, application/problem+json
    close_code, close_reason: the same answer on a WebSocket (RFC 6455, 7.4.1)
    """

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    close_code: int
    close_reason: str

    @property
    def event(self) -> bytes:
        """The same answer inside a started event stream. The blank line first ends an event cut short."""
        return b"\n\nevent: error\ndata: " + self.body + b"\n\n"


def find_refusal(error: BaseException) -> Refusal | None:
    """The refusal that `error` is, wraps as cause or context, or holds in an exception group; None if there is none.

    instructor and many apps wrap whatever a call raised in an error of their own; task groups raise groups.
    """
    queue: list[BaseException] = [error]
    seen: set[int] = set()
    while queue and len(seen) < _MAX_CHAIN:
        current = queue.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, REFUSALS):
            return current
        if isinstance(current, BaseExceptionGroup):
            queue.extend(current.exceptions)
        if current.__cause__ is not None:
            queue.append(current.__cause__)
        elif current.__context__ is not None and not current.__suppress_context__:
            queue.append(current.__context__)
    return None


def refusal(error: Refusal, *, amounts: bool = True) -> Response:
    """The response to a refusal: 429 for a budget, 422 for a model without a price, 503 for the store.

    amounts=False keeps every amount of money out of it.
    """
    if isinstance(error, BudgetExceeded):
        return _over_budget(error, amounts)
    if isinstance(error, UnpricedModel):
        # Asking again does not help, hence the header, which the SDKs of OpenAI and Anthropic obey.
        return _response(
            422,
            "Unprocessable Content",
            f"No price is known for {error.provider}/{error.model}, so the call was refused before it was made.",
            {"provider": error.provider, "model": error.model},
            [("x-should-retry", "false")],
        )
    # Not the error's own message: that is for the operator and may name the store's address.
    return _response(
        503,
        "Service Unavailable",
        "The store of the cost ledger cannot be reached, and calls are refused until it can.",
        {},
        [("Retry-After", str(max(1, error.retry_after)))],
        close_code=1013,
    )


def amount(value: Decimal) -> str:
    """USD as a plain number in a string, e.g. ``"4.98"``: JSON numbers become floats in most readers."""
    return show_usd(value).replace("$", "").replace(",", "")


def takes_events(headers: Mapping[str, str]) -> bool:
    """Whether an event can still be added to a started body: an event stream, in plain bytes. Names in lower case."""
    return (
        headers.get("content-type", "").lower().startswith("text/event-stream")
        and headers.get("content-encoding", "identity").lower() == "identity"
        and "content-length" not in headers
    )


def _over_budget(error: BudgetExceeded, amounts: bool) -> Response:
    standing = error.standing
    scope = ",".join(getattr(standing.budget, "scope", ()))
    window = str(getattr(standing.budget, "period", ""))
    name = str(getattr(standing.budget, "name", ""))
    unit = str(getattr(standing, "unit", "usd"))
    resets_at = None
    if standing.resets_at is not None:
        resets_at = standing.resets_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if amounts:
        title = str(getattr(standing.budget, "title", standing.budget))
        detail = str(error)
        money = {
            "limit": amount(standing.limit),
            "spent": amount(standing.spent),
            "held": amount(standing.held),
            "remaining": amount(standing.remaining),
        }
        if unit != "usd":
            money = {name: str(getattr(standing, name)) for name in money} | {"unit": unit}
    else:
        # A budget without a name prints as its rule, which starts with the limit.
        title = name or (f"{window} per {scope}" if scope else window)
        state = "is held by running calls" if error.busy else "is used up"
        resets = f"resets {resets_at}" if resets_at else "never resets"
        detail = f"The budget of {standing.payer} ({title}) {state}; {resets}"
        money = {}
    members = {
        "budget": title,
        "scope": scope,
        "payer": standing.payer,
        **money,
        "resets_at": resets_at,
        "violated-policies": [title],
    }
    wait = max(1, error.retry_after)
    headers = [("Retry-After", str(wait)), *_rate_limit(standing, title, window, wait, amounts)]
    if not error.busy:
        headers.append(("x-should-retry", "false"))
    return _response(429, "Too Many Requests", detail, members, headers, type_=QUOTA_EXCEEDED, title="Budget exceeded")


def _rate_limit(standing: StandingLike, title: str, window: str, wait: int, amounts: bool) -> list[tuple[str, str]]:
    """RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-11, sections 3 and 4).

    Quotas are integers there, so they are micro-dollars. The draft's registry of units has none for
    money; the default unit, requests, would say something false. Tokens and calls are counted as they are.
    """
    unit = str(getattr(standing, "unit", "usd"))
    shown, remaining, limit = "micro-usd", _micro_usd(standing.remaining), _micro_usd(standing.limit)
    if unit != "usd":
        shown, remaining, limit = unit, int(standing.remaining), int(standing.limit)
    plain = "".join([letter if " " <= letter <= "~" else "?" for letter in title])
    policy = '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if not amounts:
        return [("RateLimit", f"{policy};r=0;t={wait}")]
    rolling: timedelta | None = getattr(standing.budget, "span", None)
    seconds = WINDOW_SECONDS.get(window) if rolling is None else int(rolling.total_seconds())
    span = f";w={seconds}" if seconds else ""
    return [
        ("RateLimit", f"{policy};r={remaining};t={wait}"),
        ("RateLimit-Policy", f'{policy};q={limit};qu="{shown}"{span}'),
    ]


def _micro_usd(value: Decimal) -> int:
    """At most 15 digits, as structured fields allow (RFC 9651, 3.3.1)."""
    return min(int(value * 1_000_000), 10**15 - 1)


def _response(
    status: int,
    reason: str,
    detail: str,
    members: dict[str, Any],
    headers: list[tuple[str, str]],
    *,
    type_: str = "about:blank",
    title: str | None = None,
    close_code: int = 1008,
) -> Response:
    problem = {"type": type_, "title": title or reason, "status": status, "detail": detail, **members}
    body = json.dumps(problem, separators=(",", ":")).encode()
    whole = (
        ("Content-Type", "application/problem+json"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        *headers,
    )
    cut = detail.encode()[:_MAX_REASON].decode("utf-8", "ignore")
    return Response(status, reason, whole, body, close_code, cut)
