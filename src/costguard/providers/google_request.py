"""A request of google-genai: what of it the wrappers read, and how it is altered before it is sent."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from costguard.providers.estimate import AUDIO_TOKENS, FILE_TOKENS, IMAGE_TOKENS
from costguard.providers.flight import Flight, begin_call
from costguard.providers.policy import Policy
from costguard.providers.rows import Provider

log = logging.getLogger("costguard.providers")

CEILING = "maxOutputTokens"

_NAME = re.compile(r"(?:^|/)(models|tunedModels|endpoints)/([^/:?]+)(?=:)")
_BESIDE_TEXT = {"image": IMAGE_TOKENS, "audio": AUDIO_TOKENS}
_MEDIA = ("inlineData", "fileData")


class Sending:
    """The path and the body of a request, as they will be sent; neither the caller's dicts nor the SDK's are altered.

    extra: the caller's `extra_body`, which google-genai merges in at the last moment
    """

    __slots__ = ("_body", "_extra", "_model", "body", "path")

    def __init__(self, path: str, body: Any, extra: Any) -> None:
        self.path = path
        self.body = body
        self._body: Mapping[str, Any] = body if isinstance(body, dict) else {}
        self._extra: Mapping[str, Any] = extra if isinstance(extra, dict) else {}
        self._model = _NAME.search(path)

    @property
    def model(self) -> Any:
        """The path has it, of caches the body. A tuned model or an endpoint of one's own keeps its kind."""
        if self._model is not None:
            kind, name = self._model.groups()
            return name if kind == "models" else f"{kind}/{name}"
        told = self._body.get("model")
        return told.rpartition("/")[2] if isinstance(told, str) else told

    def view(self) -> tuple[dict[str, Any], int]:
        """The body flat, as the wrappers know it, and the tokens of its images, sounds and files."""
        given = {**self._body, **self._extra}
        view = {name: value for name, value in given.items() if not name.startswith("_")}
        config = view.pop("generationConfig", None)
        config = config if isinstance(config, dict) else {}
        own = self._body.get("generationConfig")
        if config is not own and isinstance(own, dict):
            config = {**own, **config}
        for name in (CEILING, "candidateCount", "responseSchema", "responseJsonSchema"):
            view[name] = config.get(name)
        thinking = config.get("thinkingConfig")
        # Below the names that the SDK converts some stay in snake case.
        thinking = thinking if isinstance(thinking, dict) else {}
        view["thinkingBudget"] = thinking.get("thinkingBudget", thinking.get("thinking_budget"))
        tokens = 0
        requests = view.get("requests")
        if isinstance(requests, list):
            view["requests"] = [each.get("content") if isinstance(each, dict) else each for each in requests]
        for name in ("contents", "content", "requests", "systemInstruction"):
            if name in view:
                view[name], media = _text_of(view[name])
                tokens += media
        view["model"] = self.model
        return view, tokens

    def change(self, **fields: Any) -> bool:
        """Set the model or the ceiling. False for what is not in the body, or fixed by `extra_body`."""
        unknown = fields.keys() - {"model", CEILING}
        if unknown or ("model" in fields and not self._takes_model()):
            return False
        if CEILING in fields:
            extra = self._extra.get("generationConfig")
            if not isinstance(self.body, dict) or (isinstance(extra, dict) and CEILING in extra):
                return False
            config = self.body.get("generationConfig")
            config = config if isinstance(config, dict) else {}
            self.body = {**self.body, "generationConfig": {**config, CEILING: fields[CEILING]}}
        if "model" in fields and self._model is not None:
            start, end = self._model.span(2)
            self.path = f"{self.path[:start]}{str(fields['model']).rpartition('/')[2]}{self.path[end:]}"
        return True

    def _takes_model(self) -> bool:
        # Batches of embeddings name the model in each of their parts too.
        return self._model is not None and self._model[1] == "models" and "requests" not in self._body


def begin(
    row: Provider, policy: Policy, client: Any, method: str, sending: Sending, *, streamed: bool
) -> Flight | None:
    """None for what costs nothing."""
    if row.route(method, sending.path) is None:
        return None
    try:
        view, media = sending.view()
    except Exception:
        log.exception("costguard cannot read the body of a request to %s", row.name)
        view, media = {"model": sending.model}, 0
    provider = "vertex" if getattr(client, "vertexai", False) else row.name
    flight = begin_call(
        row, policy, method=method, url=sending.path, body=view, provider=provider, streamed=streamed,
        change=sending.change,
    )  # fmt: skip
    if flight is not None:
        flight.call.input_tokens += media
    return flight


def extra_body(client: Any, options: Any) -> Any:
    """The `extra_body` of one request or of its client; absent in the first versions of google-genai."""
    for each in (options, getattr(client, "_http_options", None)):
        found = each.get("extra_body") if isinstance(each, dict) else getattr(each, "extra_body", None)
        if found:
            return found
    return None


def _text_of(value: Any) -> tuple[Any, int]:
    """Contents without their media, whose base64 says nothing of their tokens, and tokens for those."""
    tokens = 0
    if isinstance(value, list):
        found = [_text_of(each) for each in value]
        tokens = sum(media for _, media in found)
        return ([each for each, _ in found] if tokens else value), tokens
    parts = value.get("parts") if isinstance(value, dict) else None
    if not isinstance(parts, list):
        return value, 0
    kept = []
    for part in parts:
        media = next((part[name] for name in _MEDIA if part.get(name)), None) if isinstance(part, dict) else None
        if media is None:
            kept.append(part)
        else:
            told = media if isinstance(media, dict) else {}
            kind = str(told.get("mimeType") or told.get("mime_type")).partition("/")[0]
            tokens += _BESIDE_TEXT.get(kind, FILE_TOKENS)
    return ({**value, "parts": kept} if tokens else value), tokens
