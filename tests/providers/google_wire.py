"""A provider on loopback that speaks the Gemini API; the modes are those of wires.py."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.providers.wires import GIVEN, TAKEN, TEXT, WORDS, Handler, WireServer, sse


class GoogleHandler(Handler):
    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        body = json.loads(raw) if raw else {}
        mode, _, rest = self.path[1:].partition("/")
        path = rest.split("?")[0]
        found = re.search(r"models/([^/:]+):", path)
        model = found[1] if found else body.get("model")
        count = self.server.seen(path, {**body, "model": model})
        if mode == "fail2" and count <= 2:
            return self.answer(503, {"error": {"code": 503, "message": "try again", "status": "UNAVAILABLE"}})
        if mode == "refuse":
            return self.answer(400, {"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT"}})
        if mode == "hang":
            self.server.release.wait(20)
        answer = _answer(mode, path, model, body)
        return self.stream(mode, answer) if isinstance(answer, list) else self.answer(200, answer)

    def do_GET(self) -> None:
        self.do_POST()


def _answer(mode: str, path: str, model: Any, body: dict[str, Any]) -> Any:
    counts = {"promptTokenCount": TAKEN, "candidatesTokenCount": GIVEN}
    if mode == "broken":
        counts = {"promptTokenCount": "many", "candidatesTokenCount": -1}  # type: ignore[dict-item]
    told = {} if mode == "bare" else {"usageMetadata": counts}
    if path.endswith(":countTokens"):
        return {"totalTokens": 7}
    if "mbedContent" in path:
        one = {"values": [0.5, 0.25]}
        # Vertex AI says what it took, the Gemini API does not.
        return {"embedding": one, "usageMetadata": {"promptTokenCount": 5}} if path.endswith(":embedContent") else {
            "embeddings": [one]
        }  # fmt: skip
    if path.endswith(":predict"):
        image = {"bytesBase64Encoded": "aGk=", "mimeType": "image/png"}
        return {"predictions": [image, image, {"raiFilteredReason": "no"}]}
    if path.endswith("cachedContents"):
        return {"name": "cachedContents/1", "model": "models/model-1", "usageMetadata": {"totalTokenCount": 2048}}
    if "interactions" in path:
        return _interaction(path, body)
    return _contents(path, model, body, told, failing=mode == "error")


def _contents(path: str, model: Any, body: dict[str, Any], told: dict[str, Any], *, failing: bool) -> Any:
    def part(text: str, **more: Any) -> dict[str, Any]:
        content = {"role": "model", "parts": [{"text": text}]}
        candidate = {"content": content, "index": 0, **more}
        return {"candidates": [candidate], "modelVersion": f"{model}-0001", "responseId": "r-1"}

    if ":streamGenerateContent" in path:
        words = [{**part(word), "usageMetadata": {"promptTokenCount": 41}} if told else part(word) for word in WORDS]
        if failing:
            return sse(*words[:3], {"error": {"code": 503, "message": "Overloaded", "status": "UNAVAILABLE"}})
        return sse(*words, {**part("", finishReason="STOP"), **told})
    tools = body.get("tools")
    if tools and len(body["contents"]) == 1:
        answer = part("")
        call = {"functionCall": {"name": "weather", "args": {"city": "Paris"}}}
        answer["candidates"][0]["content"]["parts"] = [call]
        return {**answer, **told}
    return {**part(TEXT, finishReason="STOP"), **told}


def _interaction(path: str, body: dict[str, Any]) -> Any:
    usage = {"total_input_tokens": TAKEN, "total_output_tokens": GIVEN}
    base = {"id": "i-1", "object": "interaction", "model": "model-1", "created": "2026-05-13T20:35:38Z"}
    done = {**base, "status": "completed", "usage": usage}
    if body.get("background"):
        return {**base, "status": "in_progress"}
    if body.get("stream"):
        delta = {"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": TEXT}}
        created = {"event_type": "interaction.created", "interaction": {**base, "status": "in_progress"}}
        return sse(created, delta, {"event_type": "interaction.completed", "interaction": done}, b"[DONE]")
    return {**done, "steps": [{"type": "model_output", "content": [{"type": "text", "text": TEXT}]}]}


def google_serving() -> Iterator[WireServer]:
    server = WireServer()
    server.RequestHandlerClass = GoogleHandler
    yield server
    server.release.set()
    server.shutdown()
    server.server_close()
