"""What Cohere bills, which is less than what it counts: `billed_units`, not `tokens`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from costguard.pricing.usage import Usage
from costguard.providers.usage import Answer, count_of, fields, text_in

_BUCKETS = {
    "input_tokens": "input",
    "output_tokens": "output",
    "image_tokens": "input_image",
    "search_units": "search_units",
    "classifications": "requests",
    "pages": "pages",
    "images": "images",
}


def cohere_usage(raw: Any) -> Usage | None:
    """Usage of both API versions: `billed_units` of a chat's `usage`, or of any `meta`.

    "billed_units" is what is charged for, "tokens" counts the prompt's own additions too
    (https://docs.cohere.com/reference/chat#response.body.usage). A search unit is a query with up to 100 documents
    (https://cohere.com/pricing). Where nothing is billed by the unit, the tokens are all there is.
    """
    source = fields(raw)
    billed = fields(source.get("billed_units")) or fields(source.get("tokens"))
    buckets: dict[str, int] = {}
    for name, bucket in _BUCKETS.items():
        value = billed.get(name)
        if value is None:
            continue
        count = count_of(value)
        if count is None:
            return None
        if count:
            buckets[bucket] = count
    if "input_image" in buckets:
        # Images are billed by the token where it says their tokens.
        buckets.pop("images", None)
    # A call that consumed nothing at all has not been reported.
    return Usage.trusted(buckets) if buckets else None


def cohere_answer(response: Any) -> Answer:
    """Chat, generate, embed, rerank, classify: of v1 and v2. Cohere does not say which model answered."""
    source = fields(response)
    raw = source.get("usage") or source.get("meta")
    return Answer(
        None if raw is None else cohere_usage(raw),
        None,
        text_in(source, "id") or text_in(source, "response_id") or text_in(source, "generation_id"),
    )


def cohere_event(event: Mapping[str, Any]) -> dict[str, Any]:
    """An event of a stream, of v2 (`type`, facts in `delta`) or v1 (`event_type`, facts in `response`)."""
    kind = event.get("type") or event.get("event_type")
    if kind == "message-end":
        delta = fields(event.get("delta"))
        return _end(delta.get("usage"), delta.get("error"), event.get("id"))
    if kind == "stream-end" or event.get("is_finished") is True:
        response = fields(event.get("response"))
        failed = str(event.get("finish_reason", "")).startswith("ERROR")
        return _end(response.get("meta"), event.get("error") or failed, response.get("response_id"))
    return {"id": event.get("id") or event.get("generation_id")}


def _end(usage: Any, error: Any, response_id: Any) -> dict[str, Any]:
    if not usage:
        return {"type": "error", "error": error, "id": response_id} if error else {"type": "message_stop"}
    return {"usage": usage, "id": response_id, "type": "response.failed" if error else "message_stop"}
