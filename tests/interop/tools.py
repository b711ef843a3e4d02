"""The other instrumentors, each as one thing that can be installed, asked what it saw, and (mostly) removed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

Seen = tuple[str, Any, Any]
"""What a tool wrote down of one call: its name for it, input tokens, output tokens."""


class Tool(Protocol):
    """`removable`: it can be uninstalled."""

    removable: bool

    def install(self) -> None: ...

    def uninstall(self) -> None: ...

    def watching(self) -> Any:
        """A context manager that gives a list, which holds what was seen once it is left."""


class _Spans:
    """Spans of OpenTelemetry, kept in memory. `attributes`: those with the input and the output tokens."""

    removable = True
    attributes = ("", "")

    def __init__(self) -> None:
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        self._spans = InMemorySpanExporter()
        self.processor = SimpleSpanProcessor(self._spans)

    @contextmanager
    def watching(self) -> Iterator[list[Seen]]:
        self._spans.clear()
        seen: list[Seen] = []
        yield seen
        for span in self._spans.get_finished_spans():
            read, written = (dict(span.attributes or {}).get(name) for name in self.attributes)
            seen.append((span.name.partition(" took")[0], read, written))


class OpenInference(_Spans):
    attributes = ("llm.token_count.prompt", "llm.token_count.completion")

    def __init__(self) -> None:
        super().__init__()
        from openinference.instrumentation.anthropic import AnthropicInstrumentor
        from openinference.instrumentation.openai import OpenAIInstrumentor
        from opentelemetry.sdk.trace import TracerProvider

        self._tracers = TracerProvider()
        self._tracers.add_span_processor(self.processor)
        self._instrumentors: list[Any] = [OpenAIInstrumentor(), AnthropicInstrumentor()]

    def install(self) -> None:
        for instrumentor in self._instrumentors:
            instrumentor.instrument(tracer_provider=self._tracers)

    def uninstall(self) -> None:
        for instrumentor in self._instrumentors:
            instrumentor.uninstrument()


class Logfire(_Spans):
    attributes = ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens")

    def __init__(self) -> None:
        super().__init__()
        import logfire

        self._logfire = logfire.configure(
            send_to_logfire=False, console=False, inspect_arguments=False, additional_span_processors=[self.processor]
        )
        self._installed: list[Any] = []

    def install(self) -> None:
        self._installed = [self._logfire.instrument_openai(), self._logfire.instrument_anthropic()]

    def uninstall(self) -> None:
        for installed in self._installed:
            with installed:
                pass

    def instrument(self, client: Any) -> None:
        """One client alone."""
        self._logfire.instrument_openai(client)


class Sentry:
    removable = False

    def __init__(self) -> None:
        from sentry_sdk.transport import Transport

        events: list[Any] = []

        class Kept(Transport):
            def capture_envelope(self, envelope: Any) -> None:
                for item in envelope.items:
                    if item.type == "span":  # those of LLM calls travel apart from their transaction
                        events.extend(item.payload.json["items"])

        self._transport = Kept
        self._events = events

    def install(self) -> None:
        import sentry_sdk
        from sentry_sdk.integrations.anthropic import AnthropicIntegration
        from sentry_sdk.integrations.openai import OpenAIIntegration

        sentry_sdk.init(
            dsn="http://key@127.0.0.1/1",
            transport=self._transport,
            traces_sample_rate=1.0,
            default_integrations=False,
            auto_enabling_integrations=False,
            integrations=[OpenAIIntegration(), AnthropicIntegration()],
        )

    def uninstall(self) -> None:
        raise NotImplementedError("Sentry's patches stay for the life of the process")

    @contextmanager
    def watching(self) -> Iterator[list[Seen]]:
        import sentry_sdk

        self._events.clear()
        seen: list[Seen] = []
        with sentry_sdk.start_transaction(op="test", name="test"):
            yield seen
        for span in self._events:
            attributes = {name: value["value"] for name, value in span["attributes"].items()}
            if attributes["sentry.op"].startswith("gen_ai"):
                usage = (attributes.get(f"gen_ai.usage.{name}_tokens") for name in ("input", "output"))
                seen.append((span["name"], *usage))


TOOLS = {"openinference": OpenInference, "logfire": Logfire, "sentry": Sentry}
