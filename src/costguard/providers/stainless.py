"""A call of an SDK whose requests are options of one request function: openai, anthropic, groq, together and others."""

from __future__ import annotations

import logging
from typing import Any

from costguard.call import Call, Particulars
from costguard.events import Outcome
from costguard.providers import ordered
from costguard.providers.batches import named_in
from costguard.providers.body import tap
from costguard.providers.each import objects
from costguard.providers.estimate import input_tokens
from costguard.providers.flight import UNKNOWN_MODEL, Flight, never_sent, parsed_of
from costguard.providers.knobs import dearer, deployment
from costguard.providers.meter import Meter
from costguard.providers.options import alter, ask_for_usage, body_of, ceiling
from costguard.providers.policy import Policy
from costguard.providers.rows import Provider, Route
from costguard.providers.site import site_of
from costguard.providers.usage import Answer

log = logging.getLogger("costguard.providers")

MARK = "_costguard"
"""Key in `options.__dict__`; pydantic's copies keep it, so that nested wrappers and retries share one call."""


class StainlessFlight(Flight):
    """marked: its request function is running"""

    __slots__ = ("_client", "_options", "marked")

    def __init__(  # noqa: PLR0917 - the hot path
        self, policy: Policy, route: Route, call: Call, client: Any, options: Any, body: dict[str, Any], hide: bool
    ) -> None:
        super().__init__(policy, route, call, body, hide)
        self.marked = False
        self._client = client
        self._options = options

    def __deepcopy__(self, _memo: object) -> StainlessFlight:
        # Bedrock's client copies its options deeply, the mark with them.
        return self

    def mark(self) -> None:
        self._options.__dict__[MARK] = self
        self.marked = True

    def unmark(self) -> None:
        self.marked = False
        self._options.__dict__.pop(MARK, None)
        self._options = None
        # It refers back to this.
        self.call.knobs = None

    def unanswered(self, error: BaseException | None) -> None:
        """An attempt died without an answer, and the SDK will try again."""
        if error is not None and never_sent(error):
            return
        if self.call.particulars is None:
            self.call.particulars = Particulars()
        self.call.particulars.add(f"attempt {self.call.attempts} got no answer and may be billed too")

    def arrived(self, result: Any, *, is_async: bool) -> None:
        """The request function returned: read the answer, or hang the tap on a body that is still to come."""
        client, self._client = self._client, None
        try:
            if self.call.attempts == 0 and client.__dict__.get("_middleware"):
                # Anthropic's middleware may answer by itself; then nothing was sent and nothing is owed.
                self._settle(Outcome("ok", None, billable=False))
                return
            if hasattr(result, "__pydantic_fields_set__") or type(result) is dict:
                self._settle(self._answered(self._route.read(result), result))
                return
            response = None if type(result) is str else _response_in(result)
            if self._route.binary or (self._route.each and (response is None or response.is_closed)):
                self._read_whole(result if response is None else response)
                return
            if type(result) is str and result.lstrip().startswith(("data:", "event:")):
                # A stream that the caller did not ask for: the SDK hands on its text.
                meter = Meter(self._route, "text/event-stream", "", self.ended, hide=False)
                meter.feed(result.encode())
                meter.rest()
                meter.end("ok")
            elif response is None:
                self._settle(self._answered(Answer(), result))
            elif response.is_closed:
                parsed = parsed_of(response)
                self._settle(self._answered(self._route.read(parsed), parsed))
            else:
                tap(response, self._route, self, hide=self._hide, is_async=is_async)
        except Exception:
            log.exception("costguard could not read the answer to a call to %s", self.call.model)
            self._settle(Outcome("ok", None, estimated=True))

    def _read_whole(self, result: Any) -> None:
        """A file, or a text of many answers. What is not read yet, or was settled before, is passed over."""
        content = result if type(result) is str else result.content if getattr(result, "is_closed", False) else b""
        if self._route.each:
            for line in objects(content):
                self.one(line)
        elif not ordered.known(self._body.get("batch") or ""):
            self._settle(self._answered(self._route.read(content), content))

    def _set(self, **changes: Any) -> bool:
        options = self._options
        if options is None or ("model" in changes and deployment(options.url, self._client.base_url) is not None):
            return False
        alter(options, **changes)
        return True


def begin(row: Provider, policy: Policy, client: Any, options: Any, kwargs: dict[str, Any]) -> StainlessFlight | None:
    """Read a request into a `StainlessFlight`; None if it costs nothing or a wrapper further out has it already."""
    try:
        known = options.__dict__.get(MARK)
        if known is not None and known.marked:
            return None
        route = row.route(options.method, options.url)
        if route is None:
            return None
    except Exception:
        log.exception("costguard cannot read a request to %s and lets it pass unseen", row.name)
        return None
    try:
        body = body_of(options)
        if route.poll and route.operation == "batches":
            body = {"batch": named_in(options.url)}
        site = site_of(row, client)
        model = body.get("model") or deployment(options.url, client.base_url)
        streamed = kwargs.get("stream") is True
        call = Call(
            site.provider,
            model if type(model) is str and model else UNKNOWN_MODEL,
            route.operation,
            0 if route.poll else input_tokens(body),
            ceiling(route, body),
            route.produces_output and not route.poll,
            streamed,
        )
        call.context = dearer(body, site.place)
        hide = streamed and route.inject and site.usage and ask_for_usage(options, body)
        flight = StainlessFlight(policy, route, call, client, options, body, hide)
        flight.place = site.place
        return flight
    except Exception:
        log.exception("costguard cannot read the body of a %s request", row.name)
        call = Call(row.name, UNKNOWN_MODEL, route.operation)
        return StainlessFlight(policy, route, call, client, options, {}, hide=False)


def _response_in(result: Any) -> Any:
    """The httpx response in what a request function returns: a stream, a raw response, a binary body."""
    for name in ("http_response", "response"):
        response = getattr(result, name, None)
        if response is not None and hasattr(response, "is_closed"):
            return response
    return result if hasattr(result, "is_closed") and hasattr(result, "headers") else None
