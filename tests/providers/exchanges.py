"""The recorded exchanges of openai, azure and anthropic, each through the SDK method that issued it.

`python -m tests.providers.exchanges` prints what matched by provider and API. The recordings are read in place,
beside the repository; their ground truth was computed from the raw bytes without any SDK.
"""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import json
import re
from collections import Counter
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import anthropic
import openai

from costguard.pricing.usage import Usage
from costguard.providers.instrument import install, uninstall
from tests.providers.recording import Recording

FOLDER = Path(__file__).parents[3] / "shared" / "exchanges"
PROVIDERS = ("openai", "azure", "anthropic")
KINDS = ("sync", "async")

FIELDS = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cached_read_tokens": "cache_read_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "cache_write_1h_tokens": "cache_write_1h_tokens",
    "reasoning_tokens": "reasoning_tokens",
    "audio_input_tokens": "audio_input_tokens",
    "audio_output_tokens": "audio_output_tokens",
    "image_input_tokens": "image_input_tokens",
    "image_output_tokens": "image_output_tokens",
}
TOOLS = {
    "web_search_requests": "web_searches",
    "web_search:search": "web_searches",
    "file_search": "file_searches",
    "code_interpreter": "code_executions",
}
STANDARD = ("default", "standard", "auto", None)


@cache
def replay() -> ModuleType:
    spec = importlib.util.spec_from_file_location("replay_server", FOLDER / "replay_server.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # It writes head and body apart, and each answer would wait 40 ms for a delayed acknowledgement.
    module.Handler.disable_nagle_algorithm = True
    return module


@cache
def records() -> list[dict[str, Any]]:
    lines = (FOLDER / "dev.jsonl").read_text("utf-8").splitlines()
    found = [json.loads(line) for line in lines if line.strip()]
    return [record for record in found if record["provider"] in PROVIDERS]


def known_and_extra(method: Any, body: dict[str, Any]) -> dict[str, Any]:
    """A recorded body as the arguments of a method; what the method does not know goes into `extra_body`."""
    names = inspect.signature(method).parameters
    given = {name: value for name, value in body.items() if name in names}
    extra = {name: value for name, value in body.items() if name not in names}
    return {**given, "extra_body": extra} if extra else given


class Clients:
    """The clients of one event loop; each call gets a copy that goes to its own address."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, str], Any] = {}

    def to(self, record: dict[str, Any], base: str, kind: str) -> Any:
        name = "Anthropic" if record["sdk"]["package"] == "anthropic" else record["sdk"]["call"].partition("(")[0]
        if (name, kind) not in self._made:
            more: dict[str, Any] = {"api_key": "none", "max_retries": 0, "timeout": 20}
            if name == "AzureOpenAI":
                more |= {"azure_endpoint": "http://127.0.0.1", "api_version": "2024-06-01"}
            package = anthropic if name == "Anthropic" else openai
            self._made[name, kind] = getattr(package, ("Async" if kind == "async" else "") + name)(**more)
        return self._made[name, kind].with_options(base_url=base + ("/openai" if name == "AzureOpenAI" else ""))

    async def close(self) -> None:
        for client in self._made.values():
            closed = client.close()
            if inspect.isawaitable(closed):
                await closed


def start(client: Any, record: dict[str, Any]) -> Any:
    """Issue the call as it was recorded."""
    api, url, body = record["api"], record["url"], record["request_body"]
    last = url.split("?")[0].rstrip("/").split("/")
    fields = body if isinstance(body, dict) else {}
    if isinstance(body, list):
        fields = {part["name"]: part["value"] for part in body if "value" in part}
    if api == "messages":
        messages = client.beta.messages if "beta.messages" in record["sdk"]["call"] else client.messages
        return messages.create(**known_and_extra(messages.create, fields))
    if api == "responses.retrieve":
        return client.responses.retrieve(last[-1], stream=record["stream"])
    if api == "threads.runs.create":
        runs = client.beta.threads.runs
        return runs.create(last[-2], **known_and_extra(runs.create, fields))
    if api == "threads.runs.retrieve":
        return client.beta.threads.runs.retrieve(last[-1], thread_id=last[-3])
    if api.startswith("audio"):
        method = client.audio.translations if "translations" in api else client.audio.transcriptions
        known = {"model": "whisper-1", **fields, "stream": record["stream"], "file": ("a.wav", b"RIFF")}
        return method.create(**known_and_extra(method.create, {k: v for k, v in known.items() if v is not False}))
    if api == "images.edit":
        known = {name: value for name, value in fields.items() if name != "images"}
        return client.images.edit(image=("a.png", b"png"), **known_and_extra(client.images.edit, known))
    if api == "complete" and not hasattr(client, "completions"):
        # anthropic 2 has no method for it any more.
        stream = anthropic.AsyncStream if isinstance(client, anthropic.AsyncAnthropic) else anthropic.Stream
        return client.post(
            "/v1/complete", cast_to=object, body=fields, stream=bool(record["stream"]), stream_cls=stream[Any]
        )
    if api == "files.content":
        return client.files.content(last[-2])
    if api == "messages.batches.results":
        return client.get("/" + "/".join(last[3:]), cast_to=str)
    if api == "models":
        return client.models.list() if last[-1] == "models" else client.models.retrieve(last[-1])
    if api in ("batches", "messages.batches"):
        batches = client.batches if api == "batches" else client.messages.batches
        if record["method"] == "POST":
            return batches.create(**known_and_extra(batches.create, fields))
        return batches.list() if last[-1] == "batches" else batches.retrieve(last[-1])
    methods = {
        "chat.completions": "chat.completions.create", "completions": "completions.create",
        "complete": "completions.create", "responses": "responses.create", "responses.compact": "responses.compact",
        "responses.input_tokens": "responses.input_tokens.count", "embeddings": "embeddings.create",
        "images.generate": "images.generate", "moderations": "moderations.create",
        "messages.count_tokens": "beta.messages.count_tokens" if "beta" in record["sdk"]["call"]
        else "messages.count_tokens",
    }  # fmt: skip
    method = client
    for name in methods[api].split("."):
        method = getattr(method, name)
    if record["provider"] == "azure":
        # In recordings of deployments the model is in the path alone; the method wants to be told.
        fields = {"model": record["ground_truth"]["model_requested"], **fields}
    try:
        return method(**known_and_extra(method, fields))
    except TypeError:
        # Some bodies were refused for what they lack, and so does the method.
        return client.post("/" + methods[api].removesuffix(".create").replace(".", "/"), cast_to=object, body=fields)


async def consume(value: Any) -> None:
    """Read an answer as an app would."""
    answer = await value if inspect.isawaitable(value) else value
    if hasattr(answer, "model_dump") or isinstance(answer, str):
        return
    if hasattr(answer, "__aiter__"):
        async for _ in answer:
            pass
    elif hasattr(answer, "__iter__") and hasattr(answer, "response"):
        for _ in answer:
            pass


async def run(clients: Clients, server: Any, record: dict[str, Any], kind: str, options: str = "") -> Recording:
    """What the policy was told of one exchange."""
    recording = Recording()
    client = clients.to(record, server.base(record, options), kind)
    install(recording)
    try:
        await consume(start(client, record))
    except (openai.OpenAIError, anthropic.AnthropicError) as error:
        if record["status"] < 400 and not options and not re.search(r"event: error|\"error\"", record["response_body"]):
            raise AssertionError(f"{record['id']} failed") from error
    except Exception:
        # A cut connection comes out of the older streams as the transport's own error.
        if "cut" not in options:
            raise
    finally:
        uninstall(recording)
    return recording


def differences(record: dict[str, Any], told: Recording) -> list[str]:
    """How what was recorded differs from the ground truth, field by field."""
    truth = record["ground_truth"]
    outcomes = [outcome for _, outcome in told.settled]
    if truth["billable"] is False:
        return ["billed although it is free" for outcome in outcomes if outcome.billable]
    if truth["billable"] is None:
        if len(outcomes) > 1:
            return [f"settled {len(outcomes)} times"]
        return [line for outcome in outcomes if outcome.usage for line in _fields(truth, outcome.usage)]
    if len(outcomes) != 1:
        return [f"settled {len(outcomes)} times"]
    (outcome,) = outcomes
    if not outcome.billable:
        return ["not billed"]
    usage = outcome.usage
    if not truth["usage_present"] and not truth.get("audio_seconds"):
        if not outcome.estimated:
            return ["not marked as estimated"]
        if outcome.status == "pending":
            return []
        if usage is None or not usage.buckets:
            return ["estimated as nothing"]
        wrong = truth.get("images") and usage.buckets.get("images") != truth["images"]
        return [f"{usage} for {truth['images']} images"] if wrong else []
    if usage is None or outcome.estimated:
        return ["estimated although it was reported"]
    if truth.get("audio_seconds"):
        return [] if usage.buckets == {"seconds": truth["audio_seconds"]} else [f"{usage}: audio_seconds"]
    found = _fields(truth, usage)
    tier = truth.get("service_tier")
    if dict(outcome.context).get("service_tier") != (None if tier in STANDARD else tier):
        found.append(f"service_tier {tier} is {outcome.context}")
    responded = truth.get("model_responded")
    if responded and outcome.model != responded:
        found.append(f"model {responded} is {outcome.model}")
    others = truth.get("additional_model_usage")
    if bool(others) != bool(outcome.extra):
        found.append(f"other models {others} are {outcome.extra}")
    return found


def _fields(truth: dict[str, Any], usage: Usage) -> list[str]:
    found = []
    for name, ours in FIELDS.items():
        if (truth.get(name) or 0) != getattr(usage, ours):
            found.append(f"{name} {truth.get(name)} is {getattr(usage, ours)}")
    for name, ours in TOOLS.items():
        count = (truth.get("server_tool_calls") or {}).get(name)
        if count and usage.buckets.get(ours) != count:
            found.append(f"{name} {count} is {usage.buckets.get(ours)}")
    return found


async def table() -> tuple[list[tuple[str, str, int, int, int]], list[str]]:
    """(provider, api, matched, ambiguous, differing) over sync and async, and a line on each difference."""
    counts: Counter[tuple[str, str, str]] = Counter()
    lines = []
    clients = Clients()
    with replay().Replay(FOLDER / "dev.jsonl") as server:
        for record in records():
            for kind in KINDS:
                wrong = differences(record, await run(clients, server, record, kind))
                ambiguous = record["ground_truth"].get("ambiguous")
                verdict = "ambiguous" if ambiguous else "differing" if wrong else "matched"
                counts[record["provider"], record["api"], verdict] += 1
                if wrong:
                    lines.append(f"{verdict}: {record['id']} {kind} {record['api']}: {'; '.join(wrong)}")
    await clients.close()
    keys = sorted({(provider, api) for provider, api, _ in counts})
    verdicts = ("matched", "ambiguous", "differing")
    return [(*key, *(counts[(*key, verdict)] for verdict in verdicts)) for key in keys], lines  # type: ignore[misc]


def show(rows: list[tuple[str, str, int, int, int]]) -> str:
    total = ("all", "", *(sum(row[at] for row in rows) for at in (2, 3, 4)))
    head = ("provider", "api", "matched", "ambiguous", "differing")
    return "\n".join("{:<10} {:<26} {:>8} {:>10} {:>10}".format(*row) for row in (head, *rows, total))


if __name__ == "__main__":
    found_rows, found_lines = asyncio.run(table())
    print(show(found_rows), *found_lines, sep="\n")
