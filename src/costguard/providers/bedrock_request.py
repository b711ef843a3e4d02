"""A request to Amazon Bedrock's runtime: what of it the wrappers read, and how it is altered before it is sent."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from costguard.providers.estimate import AUDIO_TOKENS, FILE_TOKENS, IMAGE_TOKENS
from costguard.providers.flight import Flight, begin_call
from costguard.providers.policy import Policy
from costguard.providers.rows import Provider

log = logging.getLogger("costguard.providers")

CEILING = "maxTokens"
THINKING = "thinkingBudget"

_MEDIA = {"image": IMAGE_TOKENS, "audio": AUDIO_TOKENS, "video": FILE_TOKENS, "document": FILE_TOKENS}
_CEILINGS: dict[str, tuple[str, ...]] = {
    # https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html
    "anthropic": ("max_tokens",),
    "amazon.titan": ("textGenerationConfig", "maxTokenCount"),
    "amazon.nova": ("inferenceConfig", "maxTokens"),
    "cohere": ("max_tokens",),
    "meta": ("max_gen_len",),
    "mistral": ("max_tokens",),
    "openai": ("max_completion_tokens",),
    "ai21": ("max_tokens",),
    "deepseek": ("max_tokens",),
    "qwen": ("max_tokens",),
}
_OTHER_CEILINGS = (("max_tokens_to_sample",), ("max_tokens",), ("maxTokens",), ("inferenceConfig", "max_new_tokens"))
_IMAGES = ("titan-image", "nova-canvas", "stability.")


class Sending:
    """The parameters of an operation as they will be sent; the caller's are not altered.

    model:  as asked for: a model's id, an inference profile's, or an ARN of one
    """

    __slots__ = ("_body", "_invoke", "model", "params")

    def __init__(self, operation: str, params: Mapping[str, Any]) -> None:
        self.params: Mapping[str, Any] = params
        self.model = str(params.get("modelId") or "")
        self._invoke = operation.startswith("Invoke")
        self._body: Mapping[str, Any] = _parsed(params.get("body")) if self._invoke else params

    @property
    def kind(self) -> str:
        """What its answer is made of: InvokeModel asks models of every kind alike."""
        if not self._invoke:
            return "text"
        if "embed" in self.model:
            return "embeddings"
        return "images" if any(name in self.model for name in _IMAGES) else "text"

    def view(self) -> tuple[dict[str, Any], int]:
        """The body flat, as the wrappers know it, and the tokens of its images, sounds and documents."""
        body = self._body
        view = {name: value for name, value in body.items() if name not in ("modelId", "inferenceConfig")}
        tokens = 0
        messages = view.get("messages")
        if isinstance(messages, list):
            found = [_text_of(each) for each in messages]
            tokens = sum(media for _, media in found)
            view["messages"] = [each for each, _ in found] if tokens else messages
        given = _at(body, self._ceiling())
        view[CEILING] = given if type(given) is int else None
        thinking = body.get("thinking") or _at(body, ("additionalModelRequestFields", "thinking"))
        view[THINKING] = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
        view["model"] = self.model
        return view, tokens

    def change(self, **fields: Any) -> bool:
        """Set the model or the ceiling. A body that was made for one maker's models suits no other's."""
        if fields.keys() - {"model", CEILING}:
            return False
        params = dict(self.params)
        if "model" in fields:
            model = str(fields["model"])
            if self._invoke and _maker(model) != _maker(self.model):
                return False
            params["modelId"] = model
        if CEILING in fields:
            path = self._ceiling()
            if not path or (self._invoke and not self._body):
                return False
            body = _put(self._body, path, fields[CEILING])
            if self._invoke:
                params["body"] = json.dumps(body)
            else:
                params[path[0]] = body[path[0]]
            self._body = body
        self.params = params
        return True

    def _ceiling(self) -> tuple[str, ...]:
        """Where the ceiling stands, or would stand."""
        if not self._invoke:
            return ("inferenceConfig", "maxTokens")
        own = _CEILINGS.get(_maker(self.model), ())
        for path in (own, *_OTHER_CEILINGS):
            if path and _at(self._body, path) is not None:
                return path
        return own if self.kind == "text" else ()


def begin(row: Provider, policy: Policy, operation: str, sending: Sending) -> Flight | None:
    """None for what costs nothing."""
    url = f"{operation}/{sending.kind}"
    try:
        view, media = sending.view()
    except Exception:
        log.exception("costguard cannot read the parameters of a %s request", row.name)
        view, media = {"model": sending.model}, 0
    flight = begin_call(
        row, policy, method="post", url=url, body=view, provider=row.name, streamed="Stream" in operation,
        change=sending.change,
    )  # fmt: skip
    if flight is not None:
        flight.call.input_tokens += media
    return flight


def _maker(model: str) -> str:
    """ "anthropic" of "us.anthropic.claude-sonnet-5", of an ARN too; Amazon's families differ among themselves."""
    name = model.rpartition("/")[2]
    for maker in _CEILINGS:
        if name.startswith(maker) or f".{maker}" in name:
            return maker
    return name


def _parsed(body: Any) -> Mapping[str, Any]:
    """A body's JSON; one that is a file is left alone, reading it would take it from the SDK."""
    if not isinstance(body, str | bytes | bytearray):
        return {}
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _at(body: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    found: Any = body
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    return found if path else None


def _put(body: Mapping[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    name, *rest = path
    inner = body.get(name)
    under = inner if isinstance(inner, dict) else {}
    return {**body, name: _put(under, tuple(rest), value) if rest else value}


def _text_of(message: Any) -> tuple[Any, int]:
    """A message without its media, and tokens for those. Anthropic's own are known by their `type`."""
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list):
        return message, 0
    kept, tokens = [], 0
    for part in content:
        name = next((name for name in _MEDIA if name in part), None) if isinstance(part, dict) else None
        if name is None or "type" in part:
            kept.append(part)
        else:
            tokens += _MEDIA[name]
    return ({**message, "content": kept} if tokens else message), tokens
