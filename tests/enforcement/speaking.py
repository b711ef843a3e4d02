"""The three APIs in one voice: the same question, streamed or not, sync or async, through the real SDKs."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
from examples.provider import Provider, Reply

from costguard import Guard

APIS = ("chat", "responses", "messages")
MODELS = {"chat": "gpt-4o", "responses": "gpt-4o", "messages": "claude-sonnet-4-5"}
CHEAPER = {"chat": "gpt-4o-mini", "responses": "gpt-4o-mini", "messages": "claude-haiku-4-5"}
CEILINGS = {"chat": "max_completion_tokens", "responses": "max_output_tokens", "messages": "max_tokens"}


class Heard:
    """A provider that remembers what it was asked; `tokens` is how long its answers are, `max_tokens` or not."""

    def __init__(self, tokens: int = 100, word: str = "word ") -> None:
        self.tokens = tokens
        self.bodies: list[dict[str, Any]] = []
        self._word = word
        self.provider = Provider(reply=self._reply)

    def _reply(self, body: dict[str, Any]) -> Reply:
        self.bodies.append(copy.deepcopy(body))
        asked = [body.get(name) for name in ("max_completion_tokens", "max_tokens", "max_output_tokens")]
        tokens = min([self.tokens, *(most for most in asked if most)])
        return 2, tokens, (self._word * tokens).strip()

    def __enter__(self) -> Heard:
        self.provider.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.provider.__exit__()

    @property
    def last(self) -> dict[str, Any]:
        return self.bodies[-1]


class Voice:
    """Asks one API, with sync or async clients."""

    def __init__(self, heard: Heard, api: str, *, is_async: bool = False, guard: Guard | None = None) -> None:
        self.api = api
        self.model = MODELS[api]
        self.client: Any
        options: dict[str, Any] = {"api_key": "none", "max_retries": 0}
        if api == "messages":
            anthropics: Any = anthropic.AsyncAnthropic if is_async else anthropic.Anthropic
            self.client = anthropics(base_url=heard.provider.url, **options)
        else:
            openais: Any = openai.AsyncOpenAI if is_async else openai.OpenAI
            self.client = openais(base_url=heard.provider.openai_url, **options)
        self.given: dict[str, Any] = {}

    def ask(self, most: int | None = None, **more: Any) -> Any:
        """The SDK's answer (or what to await); `most`: the caller's own ceiling."""
        given: dict[str, Any] = {"model": self.model, **more}
        if most is not None:
            given["max_tokens" if self.api == "chat" else CEILINGS[self.api]] = most
        elif self.api == "messages":
            given["max_tokens"] = 4_000
        text = "Say something."
        if self.api == "responses":
            return self.client.responses.create(input=text, **given)
        messages = [{"role": "user", "content": text}]
        if self.api == "chat":
            return self.client.chat.completions.create(messages=messages, **given)
        return self.client.messages.create(messages=messages, **given)


def texts(api: str, event: Any) -> Iterator[str]:
    """The generated text in one event of a stream."""
    if api == "chat":
        for choice in event.choices:
            yield choice.delta.content or ""
    elif api == "responses":
        if event.type == "response.output_text.delta":
            yield event.delta
    elif event.type == "content_block_delta":
        yield event.delta.text


async def got(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def read(api: str, stream: Any) -> str:
    """The whole text of a stream, until its iteration ends."""
    found = []
    if hasattr(stream, "__aiter__"):
        async for event in stream:
            found += texts(api, event)
    else:
        for event in stream:
            found += texts(api, event)
    return "".join(found)
