"""Every way into an SDK: seen exactly once, and the caller gets what the SDK gives without costguard.

`python -m tests.interop.entry_points` prints the table for the SDKs installed here, `--all` also for the environments
of tests/matrix.txt. It ends with 1 if a cell is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from inspect import isawaitable
from typing import Any

from costguard import BudgetExceeded, Entry, Guard, tagged
from tests.interop.conftest import CHAT_MODEL, CLAUDE_MODEL, COSTS, EMBEDDING_MODEL, TOO_SMALL
from tests.interop.server import Server
from tests.matrix import ROOT, python_of

ASK: list[Any] = [{"role": "user", "content": "How many live in Paris?"}]
CHAT: dict[str, Any] = {"model": CHAT_MODEL, "messages": ASK}
RESPONSE: dict[str, Any] = {"model": CHAT_MODEL, "input": "How many live in Paris?"}
MESSAGE: dict[str, Any] = {"model": CLAUDE_MODEL, "messages": ASK, "max_tokens": 1000}
EMBED: dict[str, Any] = {"model": EMBEDDING_MODEL, "input": "Paris"}

Way = Callable[[Any], Any]
"""A client to a description of what the caller got: equal descriptions, equal results."""


# --- plain and async code alike ---


async def got(value: Any) -> Any:
    return await value if isawaitable(value) else value


async def each(source: Any) -> AsyncIterator[Any]:
    if hasattr(source, "__aiter__"):
        async for item in source:
            yield item
    else:
        for item in source:
            yield item


@asynccontextmanager
async def inside(manager: Any) -> AsyncIterator[Any]:
    if hasattr(manager, "__aenter__"):
        async with manager as entered:
            yield entered
    else:
        with manager as entered:
            yield entered


# --- what the caller got ---


def told(value: Any) -> Any:
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    return [kind, value.model_dump(mode="json", exclude={"parsed"})] if hasattr(value, "model_dump") else [kind]


async def streamed(stream: Any) -> list[Any]:
    """Type, context manager, `.response`, iteration, close."""
    async with inside(stream) as entered:
        status = stream.response.status_code
        items = [told(item) async for item in each(entered)]
    await got(stream.close())
    return [told(stream), entered is stream, status, items]


async def helped(manager: Any) -> list[Any]:
    async with inside(manager) as stream:
        return [told(manager), told(stream), [told(event) async for event in each(stream)]]


async def raw(response: Any) -> list[Any]:
    return [told(response), response.status_code, response.headers["content-type"], told(await got(response.parse()))]


async def raw_stream(response: Any) -> list[Any]:
    return [told(response), *await streamed(await got(response.parse()))]


async def lines(manager: Any) -> list[Any]:
    async with inside(manager) as response:
        return [told(response), response.status_code, [line async for line in each(response.iter_lines())]]


# --- the ways ---


def plain(call: Callable[[Any], Any], describe: Callable[[Any], Any] = told) -> Way:
    """describe: a function of what the call gives, awaited first"""

    async def way(client: Any) -> Any:
        return await got(describe(await got(call(client))))

    return way


def managed(call: Callable[[Any], Any], describe: Callable[[Any], Any]) -> Way:
    """The call gives a context manager."""

    async def way(client: Any) -> Any:
        return await describe(call(client))

    return way


SCHEMA = {"type": "json_schema", "json_schema": {"name": "city", "schema": {"type": "object", "properties": {}}}}
ASKED = {"stream_options": {"include_usage": True}}


def completions(client: Any, name: str) -> Any:
    """`parse` and `stream` were below `beta` first."""
    own = client.chat.completions
    return getattr(own, name, None) or getattr(client.beta.chat.completions, name)


OPENAI: dict[str, Way] = {
    "chat create": plain(lambda client: client.chat.completions.create(**CHAT)),
    "chat create, stream": plain(lambda client: client.chat.completions.create(**CHAT, stream=True), streamed),
    "chat create, stream with usage": plain(
        lambda client: client.chat.completions.create(**CHAT, stream=True, **ASKED), streamed
    ),
    "chat parse": plain(lambda client: completions(client, "parse")(**CHAT, response_format=SCHEMA)),
    "chat stream helper": managed(lambda client: completions(client, "stream")(**CHAT), helped),
    "chat raw": plain(lambda client: client.chat.completions.with_raw_response.create(**CHAT), raw),
    "chat raw, stream": plain(
        lambda client: client.chat.completions.with_raw_response.create(**CHAT, stream=True), raw_stream
    ),
    "chat streaming raw": managed(
        lambda client: client.chat.completions.with_streaming_response.create(**CHAT, stream=True), lines
    ),
    "chat with_options": plain(lambda client: client.with_options(timeout=30).chat.completions.create(**CHAT)),
    "embeddings create": plain(lambda client: client.embeddings.create(**EMBED)),
    "embeddings raw": plain(lambda client: client.embeddings.with_raw_response.create(**EMBED), raw),
    "responses create": plain(lambda client: client.responses.create(**RESPONSE)),
    "responses create, stream": plain(lambda client: client.responses.create(**RESPONSE, stream=True), streamed),
    "responses stream helper": managed(lambda client: client.responses.stream(**RESPONSE), helped),
    "responses raw": plain(lambda client: client.responses.with_raw_response.create(**RESPONSE), raw),
}
ANTHROPIC: dict[str, Way] = {
    "messages create": plain(lambda client: client.messages.create(**MESSAGE)),
    "messages create, stream": plain(lambda client: client.messages.create(**MESSAGE, stream=True), streamed),
    "messages stream helper": managed(lambda client: client.messages.stream(**MESSAGE), helped),
    "messages raw": plain(lambda client: client.messages.with_raw_response.create(**MESSAGE), raw),
    "messages streaming raw": managed(
        lambda client: client.messages.with_streaming_response.create(**MESSAGE, stream=True), lines
    ),
    "messages with_options": plain(lambda client: client.with_options(timeout=30).messages.create(**MESSAGE)),
    "beta messages create": plain(lambda client: client.beta.messages.create(**MESSAGE)),
}
NOT_IN: dict[str, str] = {"responses": "responses"}
"""Beginnings of ways to the attribute of the client that not every version has."""


async def text_of(chunks: Any) -> list[Any]:
    return ["".join([chunk.text async for chunk in each(chunks)])]


def invoke(model: Any) -> Any:
    return model.invoke("How many live in Paris?")


LANGCHAIN: dict[str, Way] = {
    "invoke": plain(invoke, lambda message: [type(message).__qualname__, message.text, message.usage_metadata]),
    "stream": plain(lambda model: model.stream("How many live in Paris?"), text_of),
    "ainvoke": plain(
        lambda model: model.ainvoke("How many live in Paris?"),
        lambda message: [type(message).__qualname__, message.text, message.usage_metadata],
    ),
    "astream": plain(lambda model: model.astream("How many live in Paris?"), text_of),
}


def openai_clients(server: Server) -> dict[str, Any]:
    import openai

    given: dict[str, Any] = {"base_url": f"{server.url}/v1", "api_key": "local"}
    return {"sync": openai.OpenAI(**given), "async": openai.AsyncOpenAI(**given)}


def anthropic_clients(server: Server) -> dict[str, Any]:
    import anthropic

    given: dict[str, Any] = {"base_url": server.url, "api_key": "local"}
    return {"sync": anthropic.Anthropic(**given), "async": anthropic.AsyncAnthropic(**given)}


def langchain_models(server: Server) -> dict[str, Any]:
    from langchain_anthropic import ChatAnthropic
    from langchain_openai import ChatOpenAI

    given: dict[str, Any] = {"model": CHAT_MODEL, "base_url": f"{server.url}/v1", "api_key": "local"}
    return {
        "ChatOpenAI": ChatOpenAI(**given, stream_usage=True),
        "ChatOpenAI, responses": ChatOpenAI(**given, use_responses_api=True),
        "ChatAnthropic": ChatAnthropic(model=CLAUDE_MODEL, base_url=server.url, api_key="local", max_tokens=1000),
    }


SDKS: dict[str, tuple[Callable[[Server], dict[str, Any]], dict[str, Way]]] = {
    "openai": (openai_clients, OPENAI),
    "anthropic": (anthropic_clients, ANTHROPIC),
    "langchain-openai": (langchain_models, LANGCHAIN),
}


# --- the table ---


async def row(server: Server, client: Any, way: Way) -> dict[str, bool]:
    """Cells of one way: each must be true."""
    alone = await way(client)
    server.asked.clear()
    with Guard("memory://") as guard, tagged(user="alice"):
        guard.instrument(usage_hosts=[f"127.0.0.1:{server.port}"])
        beside = await way(client)
        entries = guard.entries()
        once = len(entries) == len(server.asked) == 1
    server.asked.clear()
    with Guard("memory://", budgets=[TOO_SMALL], holds="strict", wait=0) as guard:
        guard.instrument()
        try:
            await way(client)
        except BudgetExceeded:
            refused = not server.asked
        else:
            refused = False
    return {"once": once, "usage": once and is_exact(entries[0]), "same": beside == alone, "refused": refused}


def is_exact(entry: Entry) -> bool:
    reported = (entry.status, entry.estimated, entry.attempts) == ("ok", False, 1)
    return reported and entry.cost == COSTS[entry.model] and entry.tags["user"] == "alice"


async def table() -> list[tuple[str, str, str, dict[str, bool]]]:
    rows = []
    with Server() as server:
        for package, (clients, ways) in SDKS.items():
            try:
                name = f"{package} {version(package)}"
            except PackageNotFoundError:
                continue
            made = clients(server)
            for kind, client in made.items():
                for way, call in ways.items():
                    needed = NOT_IN.get(way.split()[0])
                    if needed is None or hasattr(client, needed):
                        rows.append((name, way, kind, await row(server, client, call)))
            for client in made.values():
                close = getattr(client, "close", None)
                if close is not None:
                    await got(close())
    return rows


def show(rows: list[tuple[str, str, str, dict[str, bool]]]) -> bool:
    """Print the rows; True if every cell is right."""
    for name, way, kind, cells in rows:
        print(f"{name:26}{way:32}{kind:22}", *(f"{cell} {'yes' if right else 'NO':4}" for cell, right in cells.items()))
    wrong = sum(not all(cells.values()) for *_, cells in rows)
    print(f"{len(rows)} entry points, {wrong} wrong")
    return bool(rows) and not wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="also in the environments of tests/matrix.txt")
    right = True
    if parser.parse_args().all:
        for name in ("old", "previous", "frameworks"):
            python = python_of(ROOT / ".matrix" / "{}.{}".format(*sys.version_info) / name)
            right &= subprocess.run([python, "-m", "tests.interop.entry_points"], cwd=ROOT, check=False).returncode == 0
    right &= show(asyncio.run(table()))
    raise SystemExit(0 if right else 1)


if __name__ == "__main__":
    main()
