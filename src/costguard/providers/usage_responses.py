"""Usage of OpenAI's Responses API, of thread runs and of videos: jobs with a status, and tools billed by the call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from costguard.providers.usage import Answer, count_of, fields, openai_answer, openai_usage, seconds_usage, text_in

_TOOLS = {
    "web_search_call": "web_searches", "file_search_call": "file_searches",
    "code_interpreter_call": "code_executions",
}  # fmt: skip
_UNFINISHED = frozenset(("queued", "in_progress", "requires_action", "cancelling"))


def responses_answer(response: Any) -> Answer:
    """The Responses API, and runs of threads: like chat, with a status, and tools that are billed by the call.

    https://platform.openai.com/docs/pricing#built-in-tools: searches count, opened pages do not.
    """
    answer = openai_answer(response)
    source = fields(response)
    status = source.get("status")
    if status != "completed":
        answer.pending = type(status) is str and status in _UNFINISHED and answer.usage is None
        answer.failed = status == "failed"
    if answer.usage is not None:
        output, tools = source.get("output"), source.get("tool_usage")
        if output and isinstance(output, list):
            _count_calls(answer.usage.buckets, output)
        if tools is not None:
            _count_told(answer, source, fields(tools))
    return answer


def _count_calls(buckets: dict[str, int], output: list[Any]) -> None:
    for item in output:
        kind = item.get("type") if type(item) is dict else getattr(item, "type", None)
        name = _TOOLS.get(kind) if type(kind) is str else None
        if name is not None and (kind != "web_search_call" or _searched(item)):
            buckets[name] = buckets.get(name, 0) + 1


def _searched(item: Any) -> bool:
    return bool(fields(fields(item).get("action")).get("type", "search") == "search")


def _count_told(answer: Answer, source: Mapping[str, Any], tools: Mapping[str, Any]) -> None:
    billed = count_of(fields(tools.get("web_search")).get("num_requests"))
    if billed and answer.usage is not None:
        answer.usage.buckets["web_searches"] = billed
    drawn = openai_usage(tools.get("image_gen"))
    if drawn is not None and drawn.buckets:
        answer.extra = ((_image_model(source), drawn),)


def _image_model(source: Mapping[str, Any]) -> str:
    tools = source.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        declared = fields(tool)
        if declared.get("type") == "image_generation" and type(declared.get("model")) is str:
            return str(declared["model"])
    return "gpt-image-1"


def video_answer(response: Any) -> Answer:
    """Videos are billed by the second asked for, which the job states at once."""
    source = fields(response)
    return Answer(seconds_usage(source.get("seconds")), text_in(source, "model"), text_in(source, "id"))
