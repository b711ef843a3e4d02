"""Tags that travel to downstream services with OpenTelemetry's own propagation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from costguard.baggage import PREFIX, travelling
from costguard.errors import MissingExtra


def tag_propagator(only: Iterable[str] | None = None) -> Any:
    """OpenTelemetry's W3C baggage propagator, which also sends the current tags, to put in its place:

    ``set_global_textmap(CompositePropagator([TraceContextTextMapPropagator(), tag_propagator()]))``

    What instruments an HTTP client then adds them to each of its requests, to whomever they go: leave this out, or
    name few tags, where one of these is not yours. What comes in is not believed here (see `baggage=` of a middleware),
    and not handed on: of OpenTelemetry's baggage, which anybody may have sent, tags are left out.

    only: the tags to send; all but `route` and `environment` if not given

    Raises MissingExtra without opentelemetry-api.
    """
    try:
        from opentelemetry import baggage
        from opentelemetry.baggage.propagation import W3CBaggagePropagator
        from opentelemetry.propagators.textmap import Setter, default_setter
    except ImportError:
        raise MissingExtra("opentelemetry-api", "otel", "tag_propagator()") from None
    wanted = None if only is None else tuple(only)

    class Encoded(Setter[Any]):
        """It writes a space as in a form's data, where in W3C baggage a plus is a plus."""

        def __init__(self, setter: Setter[Any]) -> None:
            self._setter = setter

        def set(self, carrier: Any, key: str, value: str) -> None:
            self._setter.set(carrier, key, value.replace("+", "%20"))

    class TagPropagator(W3CBaggagePropagator):
        def inject(self, carrier: Any, context: Any = None, setter: Setter[Any] = default_setter) -> None:
            for key in baggage.get_all(context):
                if key.startswith(PREFIX):
                    context = baggage.remove_baggage(key, context)
            for key, value in travelling(only=wanted).items():
                context = baggage.set_baggage(key, value, context)
            super().inject(carrier, context, Encoded(setter))

    return TagPropagator()
