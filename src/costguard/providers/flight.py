"""One call on its way through an SDK: what is decided before it, and how its end becomes an `Outcome`."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from costguard.call import Call
from costguard.events import Outcome, Status
from costguard.pricing.usage import Usage
from costguard.providers import ordered
from costguard.providers.body import ended_by, tap
from costguard.providers.estimate import input_tokens, likely, output_tokens, text_of
from costguard.providers.knobs import Change, Knobs, dearer, placed
from costguard.providers.meter import End, Meter
from costguard.providers.options import ceiling
from costguard.providers.policy import Policy
from costguard.providers.rows import Provider, Route
from costguard.providers.usage import Answer

log = logging.getLogger("costguard.providers")

UNKNOWN_MODEL = "unknown"
_NEVER_SENT = frozenset((
    "ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol", "ProxyError", "LocalProtocolError",
    "InvalidURL", "ClientConnectorError", "ClientConnectorDNSError", "EndpointConnectionError", "ConnectTimeoutError",
))  # fmt: skip


def never_sent(error: BaseException) -> bool:
    """Whether an error means that the provider did not get the request."""
    return any(type(cause).__name__ in _NEVER_SENT for cause in (error, error.__cause__, error.__context__))


class Flight(Knobs):
    """The call between its beginning and its outcome, which is told to the policy exactly once.

    A shape begins it (`begin_call`), reserves if it `holds`, and tells one of its ends: `failed`, `read`,
    `tap`, or that of a `meter`.
    """

    __slots__ = (
        "_body", "_change", "_hide", "_ordered", "_pending", "_route", "call", "holds", "is_async", "place", "policy",
    )  # fmt: skip

    def __init__(  # noqa: PLR0917 - the hot path
        self, policy: Policy, route: Route, call: Call, body: dict[str, Any], hide: bool, change: Change | None = None
    ) -> None:
        self.policy = policy
        self.call = call
        call.knobs = self
        self.is_async = False
        self.place = ""
        self._pending: Callable[[], Awaitable[None]] | None = None
        # A poll asks for what was paid before: it is never refused.
        self.holds = not route.poll
        self._ordered = route.ordered or body.get("background") is True
        self._route = route
        self._body = body
        self._hide = hide
        self._change = change

    def sent(self) -> None:
        """The request was made or failed: from here on it cannot be altered."""
        self._change = None
        # It refers back to this.
        self.call.knobs = None

    # --- ends ---

    def failed(self, error: BaseException, status: int | None = None) -> None:
        """The request function raised: it was refused, cut, cancelled, or its answer could not be read.

        status: of the HTTP answer, where the error does not have it as `status_code`
        """
        try:
            outcome = self._outcome_of(error, status)
        except Exception:
            log.exception("costguard could not read how a call to %s failed", self.call.model)
            outcome = Outcome("error", None, estimated=True)
        self._settle(outcome)

    def read(self, content: Any) -> None:
        """The provider answered with this: an SDK's model, parsed JSON, text, or None for what says nothing."""
        try:
            self._settle(self._answered(self._route.read(content), content))
        except Exception:
            log.exception("costguard could not read the answer to a call to %s", self.call.model)
            self._settle(Outcome("ok", None, estimated=True))

    def tap(self, response: Any) -> None:
        """Read an answer off an httpx response: now if it has been read, else as it passes."""
        try:
            if response.is_closed:
                self.read(parsed_of(response))
            else:
                tap(response, self._route, self, hide=self._hide, is_async=self.is_async)
        except Exception:
            log.exception("costguard could not read the answer to a call to %s", self.call.model)
            self._settle(Outcome("ok", None, estimated=True))

    def meter(self, content_type: str) -> Meter:
        """For a stream that is no httpx body: `feed` it bytes or `take` parsed events, and `end` it once."""
        return Meter(self._route, content_type, "", self.ended, hide=self._hide)

    def ended(self, how: End, meter: Meter) -> None:
        """The tap reports the end of the body."""
        try:
            outcome = self._outcome_of_body(how, meter)
        except Exception:
            log.exception("costguard could not read the stream of a call to %s", self.call.model)
            outcome = Outcome("error" if how == "error" else "closed", None, estimated=True)
        self._settle(outcome)

    def _settle(self, outcome: Outcome | None) -> None:
        if outcome is None or self._route.poll:
            return
        outcome.ended_ns = time.time_ns()
        self.call.attempts = self.call.attempts or 1
        self._tell(self.call, outcome)

    def _tell(self, call: Call, outcome: Outcome) -> None:
        try:
            if self.place:
                outcome.context = placed(outcome.context, self.place)
            if self.is_async:
                self._pending = self.policy.settling(call, outcome)
            else:
                self.policy.settle(call, outcome)
        except Exception:
            log.exception("costguard could not settle call %s to %s", call.id, call.model)

    @property
    def waits(self) -> bool:
        return self._pending is not None

    async def settled(self) -> None:
        """Wait until what was settled is recorded, where another thread is at it."""
        pending, self._pending = self._pending, None
        if pending is not None:
            await pending()

    @property
    def stop_at(self) -> int | None:
        """Output tokens at which the stream is to end."""
        particulars = self.call.particulars
        return None if particulars is None else particulars.stop

    def stopped(self) -> None:
        """Its stream is ended by us."""
        if self.call.particulars is not None:
            self.call.particulars.add("stopped at its hold")

    # --- decisions ---

    def _answered(self, answer: Answer, content: Any) -> Outcome | None:
        if self._route.poll:
            look = ordered.looked if self._route.operation == "batches" else ordered.polled
            look(self.policy, self.call, answer, content, self._tell, self._body.get("batch"))
            return None
        if answer.usage is not None and not (answer.failed or self._ordered):
            return answer
        if answer.pending and self._ordered and answer.response_id:
            ordered.remember(self.call, answer.response_id)
            return self._outcome("pending", answer, None, estimated=True)
        if answer.usage is not None:
            return self._outcome("error" if answer.failed else "ok", answer, answer.usage)
        if answer.failed:
            return self._outcome("error", answer, None, billable=False)
        return self._outcome("ok", answer, self._guess(content), estimated=True)

    def one(self, line: dict[str, Any]) -> None:
        """One answer of a body of many, of which each is paid for by itself."""
        try:
            named = self._body.get("batch") or ""
            ordered.line(self.policy, self.call, self._route.read(line), line, self._tell, named)
        except Exception:
            log.exception("costguard could not read a line of a batch's results")

    def _guess(self, content: Any) -> Usage:
        if self._route.guess is not None:
            return self._route.guess(self._body, content)
        given = output_tokens(text_of(content)) if self._route.produces_output else 0
        return Usage(input_tokens=likely(self.call.input_tokens), output_tokens=given)

    def _outcome(
        self, status: Status, answer: Answer, usage: Usage | None, *, estimated: bool = False, billable: bool = True
    ) -> Outcome:
        return Outcome(
            status, usage, estimated=estimated, billable=billable, model=answer.model,
            response_id=answer.response_id,
            by_response=self._ordered and answer.response_id is not None,
            context=answer.context, extra=answer.extra, reported=answer.reported,
        )  # fmt: skip

    def _outcome_of_body(self, how: End, meter: Meter) -> Outcome | None:
        if self._route.each:
            return None
        answer = meter.answer()
        usage = answer.usage
        if self._route.poll or (meter.parsed and how == "ok"):
            return self._answered(answer, meter.found)
        if usage is not None and (meter.whole or how == "ok"):
            return self._outcome("error" if how == "error" or answer.failed else "ok", answer, usage)
        if how in ("closed", "cancelled") and answer.response_id and self._ordered:
            ordered.remember(self.call, answer.response_id)
            return self._outcome("pending", answer, None, estimated=True)
        written = meter.deltas.tokens()
        if usage is None and not written and (meter.failed or answer.failed):
            return self._outcome("error", answer, None, billable=False)
        if not meter.told:
            return self._outcome(how, answer, None, estimated=True)
        if usage is not None:
            # Anthropic tells the input at once and the output in the end.
            missing = written - usage.output_tokens
            if missing > 0:
                usage.buckets["output"] = usage.buckets.get("output", 0) + missing
            return self._outcome(how, answer, usage, estimated=True)
        if not meter.deltas.count:
            return self._outcome(how, answer, self._guess(meter.found), estimated=True)
        usage = Usage(input_tokens=likely(self.call.input_tokens), output_tokens=written)
        return self._outcome(how, answer, usage, estimated=True)

    def _outcome_of(self, error: BaseException, status: int | None) -> Outcome | None:
        if self._route.poll:
            return None
        status = getattr(error, "status_code", None) if status is None else status
        if isinstance(status, int) and status >= 400:
            return Outcome("error", None, billable=False)
        how = ended_by(error)
        if self.call.attempts == 0 or never_sent(error):
            return Outcome(how, None, billable=False)
        # A parser that raises (a truncated answer to `.parse()`) has the paid answer with it.
        content = getattr(error, "completion", None)
        if content is None:
            response = getattr(error, "response", None)
            if response is not None and getattr(response, "is_closed", False):
                content = parsed_of(response)
        if content is not None:
            answer = self._route.read(content)
            if answer.usage is not None:
                return self._outcome("error", answer, answer.usage)
        return Outcome(how, None, estimated=True)


def begin_call(
    row: Provider,
    policy: Policy,
    *,
    method: str,
    url: str,
    body: dict[str, Any],
    provider: str,
    streamed: bool,
    change: Change | None = None,
    hide: bool = False,
) -> Flight | None:
    """Read a request of any SDK into a `Flight`; None if it costs nothing.

    body:     as it will be sent, with the model under "model" also where the API has it in the path
    provider: its name, as `row.at` tells by the host
    change:   sets fields of the body that is sent, None where it cannot be altered
    hide:     the usage at the end of its stream was not asked for by the caller
    """
    route = None
    try:
        route = row.route(method, url)
        if route is None:
            return None
        model = body.get("model")
        call = Call(
            provider,
            model if type(model) is str and model else UNKNOWN_MODEL,
            route.operation,
            0 if route.poll else input_tokens(body),
            ceiling(route, body),
            route.produces_output and not route.poll,
            streamed,
        )
        call.context = dearer(body)
        return Flight(policy, route, call, body, hide, change)
    except Exception:
        log.exception("costguard cannot read a request to %s", row.name)
        return (
            None if route is None else Flight(policy, route, Call(provider, UNKNOWN_MODEL, route.operation), {}, False)
        )


def parsed_of(response: Any) -> Any:
    """The JSON of a response that has been read, its text if it is none, None if it is neither."""
    kind = response.headers.get("content-type", "")
    if "json" not in kind:
        return response.text if kind.startswith("text/") else None
    try:
        return json.loads(response.content)
    except ValueError:
        return response.text
