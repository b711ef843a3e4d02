"""The answers of the local provider, in the shapes that the OpenAI and Anthropic APIs document.

Each pair is one API: the whole JSON answer, and the same answer as server-sent events.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

Body = dict[str, Any]
Reply = tuple[int, int, str]


def event(value: Body, name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(value)}\n\n".encode()


def pieces(text: str) -> list[str]:
    """Words, with the spaces that join them again."""
    words = text.split(" ")
    return [words[0], *(f" {word}" for word in words[1:])]


# Chat completions: https://platform.openai.com/docs/api-reference/chat


def chat_usage(reply: Reply) -> Body:
    tokens_in, tokens_out, _ = reply
    return {
        "prompt_tokens": tokens_in,
        "completion_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def chat_completion(number: int, body: Body, reply: Reply) -> Body:
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body["model"],
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": reply[2], "refusal": None},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": chat_usage(reply),
    }


def chat_events(number: int, body: Body, reply: Reply) -> Iterator[bytes]:
    """The usage comes in a last event without choices, and only where `stream_options.include_usage` asks for it."""
    wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    head = {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": body["model"],
        **({"usage": None} if wants_usage else {}),
    }

    def chunk(delta: Body, finish: str | None = None) -> bytes:
        return event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}]})

    yield chunk({"role": "assistant", "content": ""})
    for piece in pieces(reply[2]):
        yield chunk({"content": piece})
    yield chunk({}, "stop")
    if wants_usage:
        yield event({**head, "choices": [], "usage": chat_usage(reply)})
    yield b"data: [DONE]\n\n"


# Responses: https://platform.openai.com/docs/api-reference/responses


def response_of(number: int, body: Body, reply: Reply, status: str = "completed") -> Body:
    tokens_in, tokens_out, text = reply
    done = status == "completed"
    return {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": int(time.time()),
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "metadata": {},
        "model": body["model"],
        "output": [_response_message(number, text)] if done else [],
        "parallel_tool_calls": True,
        "service_tier": "default",
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": {
            "input_tokens": tokens_in,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": tokens_out,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": tokens_in + tokens_out,
        }
        if done
        else None,
    }


def _response_message(number: int, text: str, status: str = "completed") -> Body:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    content = [part] if status == "completed" else []
    return {"id": f"msg_{number}", "type": "message", "role": "assistant", "status": status, "content": content}


def response_events(number: int, body: Body, reply: Reply) -> Iterator[bytes]:
    sequence = 0

    def numbered(kind: str, **fields: Any) -> bytes:
        nonlocal sequence
        sequence += 1
        return event({"type": kind, "sequence_number": sequence - 1, **fields}, kind)

    text = reply[2]
    begun = response_of(number, body, reply, "in_progress")
    at = {"item_id": f"msg_{number}", "output_index": 0, "content_index": 0}
    empty = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    yield numbered("response.created", response=begun)
    yield numbered("response.in_progress", response=begun)
    yield numbered("response.output_item.added", output_index=0, item=_response_message(number, "", "in_progress"))
    yield numbered("response.content_part.added", **at, part=empty)
    for piece in pieces(text):
        yield numbered("response.output_text.delta", **at, delta=piece, logprobs=[])
    yield numbered("response.output_text.done", **at, text=text, logprobs=[])
    yield numbered("response.content_part.done", **at, part={**empty, "text": text})
    yield numbered("response.output_item.done", output_index=0, item=_response_message(number, text))
    yield numbered("response.completed", response=response_of(number, body, reply))


# Messages: https://docs.anthropic.com/en/api/messages


def anthropic_message(number: int, body: Body, reply: Reply) -> Body:
    return {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": [{"type": "text", "text": reply[2]}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": _anthropic_usage(reply[0], reply[1]),
    }


def _anthropic_usage(tokens_in: int, tokens_out: int) -> Body:
    return {
        "input_tokens": tokens_in,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": tokens_out,
        "service_tier": "standard",
    }


def anthropic_events(number: int, body: Body, reply: Reply) -> Iterator[bytes]:
    """`message_start` has the input and a first output token, `message_delta` the cumulative output."""

    def named(kind: str, **fields: Any) -> bytes:
        return event({"type": kind, **fields}, kind)

    begun = anthropic_message(number, body, (reply[0], 1, ""))
    yield named("message_start", message={**begun, "content": [], "stop_reason": None})
    yield named("content_block_start", index=0, content_block={"type": "text", "text": ""})
    yield named("ping")
    for piece in pieces(reply[2]):
        yield named("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
    yield named("content_block_stop", index=0)
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    yield named("message_delta", delta=stop, usage={"output_tokens": reply[1]})
    yield named("message_stop")
