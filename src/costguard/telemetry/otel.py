"""Each call as a span and as measurements of OpenTelemetry."""

from __future__ import annotations

import os
from hashlib import blake2b
from typing import Any, Literal

from costguard.call import Call
from costguard.errors import ConfigError, MissingExtra
from costguard.events import Downgraded, Refused, Settled
from costguard.telemetry.attributes import SpanAttributes, is_a_call
from costguard.telemetry.measures import measures_of
from costguard.telemetry.named import Names
from costguard.telemetry.spans import Begun, Spans
from costguard.telemetry.text import sendable
from costguard.telemetry.watched import Watched

UserIds = Literal["plain", "hashed", "none"]

_NEWEST = frozenset(("gen_ai_latest_experimental", "gen_ai"))
_SALT_BYTES = 64


class OpenTelemetry:
    """A hook that gives every call one span and its measurements: `Guard(..., hooks=[OpenTelemetry()])`.

    Where another instrumentation made a span for the call, that one gets the attributes, and no second one is made;
    else a span of our own is, from the call's beginning to its last byte, below the span that was current.

    tracer_provider, meter_provider: OpenTelemetry's global ones if not given
    user_ids:      "plain", "hashed" (keyed by `salt`, which must be a secret) or "none"
    openinference: the OpenInference names too, for Phoenix
    spans, metrics: False leaves them out

    OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental gives the newest names of the GenAI conventions.

    Raises MissingExtra without opentelemetry-api, ConfigError for wrong settings.
    """

    def __init__(
        self,
        *,
        tracer_provider: Any = None,
        meter_provider: Any = None,
        user_ids: UserIds = "plain",
        salt: str = "",
        openinference: bool = False,
        spans: bool = True,
        metrics: bool = True,
    ) -> None:
        try:
            import opentelemetry.metrics  # noqa: F401
        except ImportError:
            raise MissingExtra("opentelemetry-api", "otel", "OpenTelemetry()") from None
        if user_ids not in ("plain", "hashed", "none"):
            raise ConfigError(f"user_ids={user_ids!r} is not known; give 'plain', 'hashed' or 'none'")
        if user_ids == "hashed" and not salt:
            raise ConfigError("user_ids='hashed' needs salt=, a secret of yours: else anyone can hash a known id")
        self._user_ids, self._salt = user_ids, salt.encode()
        if len(self._salt) > _SALT_BYTES:
            self._salt = blake2b(self._salt).digest()
        opted = os.environ.get("OTEL_SEMCONV_STABILITY_OPT_IN", "").split(",")
        newest = not _NEWEST.isdisjoint(each.strip() for each in opted)
        attributes = SpanAttributes(hide=self._hide, newest=newest, openinference=openinference)
        self._names = Names(self._hide)
        self._spans = Spans(tracer_provider, attributes) if spans else None
        self._measures = measures_of(meter_provider) if metrics else None

    # --- what a guard calls ---

    def attached(self, guard: Watched) -> None:
        """A guard took this hook."""
        if self._measures is not None:
            self._measures.watch(guard, self._names)

    def began(self, call: Call) -> None:
        """A call is about to be made, in the context of the app."""
        if self._measures is not None:
            self._measures.began(call)
        if self._spans is not None:
            self._spans.begin(call)

    def ended(self, call: Call) -> None:
        """A call that began is over: settled, refused, or never made."""
        if self._measures is not None:
            self._measures.ended(call)
        if self._spans is not None:
            self._spans.drop(call)

    def __call__(self, event: Settled | Refused | Downgraded) -> None:
        if isinstance(event, Settled):
            self._settled(event)
            return
        measures = self._measures
        if isinstance(event, Refused):
            if measures is not None:
                measures.refused(event, self._names.of(event.standing.budget))
            self._tell_refusal(event)
        elif measures is not None:
            measures.downgraded(event)

    # --- one call ---

    def _settled(self, event: Settled) -> None:
        entry, call = event.entry, event.call
        if not is_a_call(entry):
            return
        asked = sendable(entry.model if call is None else call.model)
        if self._measures is not None:
            self._measures.settled(entry, asked)
        if self._spans is not None:
            self._spans.end(call, entry, asked)

    def _tell_refusal(self, event: Refused) -> None:
        """On the span that another instrumentation made for the call; one that is not made gets none of ours."""
        begun = event.call.span
        if isinstance(begun, Begun) and begun.theirs is not None:
            told = "costguard.observed" if event.observed else "costguard.refused"
            begun.theirs.set_attributes({told: True, "costguard.budget": self._names.of(event.standing.budget)})

    def _hide(self, user: str) -> str | None:
        if self._user_ids == "plain":
            return user
        if self._user_ids == "none":
            return None
        return blake2b(user.encode("utf-8", "replace"), key=self._salt, digest_size=16).hexdigest()
