"""What the drivers of the exchanges have in common: arguments out of a recorded body, and an app that reads answers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from costguard.providers.instrument import install, uninstall
from tests.providers.recording import Recording


@contextmanager
def watched() -> Iterator[Recording]:
    """Every call made in here is told to the recording."""
    recording = Recording()
    install(recording)
    try:
        yield recording
    finally:
        uninstall(recording)


def known_and_extra(method: Any, body: dict[str, Any]) -> dict[str, Any]:
    """A recorded body as the arguments of a method; what the method does not know goes into `extra_body`."""
    names = inspect.signature(method).parameters
    given = {name: value for name, value in body.items() if name in names}
    extra = {name: value for name, value in body.items() if name not in names}
    return {**given, "extra_body": extra} if extra else given


def fields_of(record: dict[str, Any]) -> dict[str, Any]:
    """The fields of a recorded body; of a multipart one those that are no files."""
    body = record["request_body"]
    if isinstance(body, list):
        return {part["name"]: part["value"] for part in body if "value" in part}
    return body if isinstance(body, dict) else {}


def path_of(record: dict[str, Any]) -> list[str]:
    return str(record["url"]).split("?")[0].rstrip("/").split("/")


def attribute(client: Any, dotted: str) -> Any:
    for name in dotted.split("."):
        client = getattr(client, name)
    return client


async def consume(value: Any) -> None:
    """Read an answer as an app would."""
    answer = await value if inspect.isawaitable(value) else value
    if hasattr(answer, "model_dump") or isinstance(answer, str):
        return
    if hasattr(answer, "__aiter__"):
        async for _ in answer:
            pass
    elif hasattr(answer, "__iter__") and (hasattr(answer, "response") or hasattr(answer, "http_response")):
        for _ in answer:
            pass
