"""The row of the `voyageai` package: embeddings and reranking, which cost input alone.

Its seam is `APIRequestor.request`, below its retries: each attempt is a call of its own, the failed ones free. Clients
share it and nothing else, so that one cannot be watched alone.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from costguard.pricing.usage import Usage
from costguard.providers.departure import Changes, failed, host_of
from costguard.providers.flight import Flight, begin_call
from costguard.providers.policy import Policy
from costguard.providers.rows import Provider, Route, Seam
from costguard.providers.usage import Answer, count_of, fields, part_of, text_in

log = logging.getLogger("costguard.providers")

PolicyOf = Callable[[Any], Policy | None]


def voyage_answer(response: Any) -> Answer:
    """Every API tells its `total_tokens`; that of several media how many of them were text
    (https://docs.voyageai.com/reference/multimodal-embeddings-api)."""
    source = fields(response)
    raw = fields(source.get("usage"))
    answer = Answer(None, text_in(source, "model"))
    total = count_of(raw.get("total_tokens"))
    if total:
        text = part_of(raw, "text_tokens", total) if raw.get("image_pixels") else total
        found = {"input": text, "input_image": total - text}
        answer.usage = Usage.trusted({name: count for name, count in found.items() if count})
    return answer


def sync_request(original: Callable[..., Any], *, row: Provider, policy_of: PolicyOf) -> Callable[..., Any]:
    @wraps(original)
    def request(self: Any, method: str, url: str, params: Any = None, *args: Any, **kwargs: Any) -> Any:
        policy = policy_of(self)
        begun = None if policy is None else _begin(row, policy, self, method=method, url=url, params=params)
        if begun is None:
            return original(self, method, url, params, *args, **kwargs)
        flight, changes = begun
        if flight.holds:
            flight.policy.reserve(flight.call)
        try:
            result = original(self, method, url, _depart(flight, changes, params), *args, **kwargs)
        except BaseException as error:
            failed(flight, error)
            raise
        flight.read(result.data)
        return result

    return request


def async_request(original: Callable[..., Any], *, row: Provider, policy_of: PolicyOf) -> Callable[..., Any]:
    @wraps(original)
    async def arequest(self: Any, method: str, url: str, params: Any = None, *args: Any, **kwargs: Any) -> Any:
        policy = policy_of(self)
        begun = None if policy is None else _begin(row, policy, self, method=method, url=url, params=params)
        if begun is None:
            return await original(self, method, url, params, *args, **kwargs)
        flight, changes = begun
        flight.is_async = True
        if flight.holds:
            await flight.policy.reserve_async(flight.call)
        try:
            result = await original(self, method, url, _depart(flight, changes, params), *args, **kwargs)
        except BaseException as error:
            failed(flight, error)
            if flight.waits and isinstance(error, Exception):
                await flight.settled()
            raise
        flight.read(result.data)
        if flight.waits:
            await flight.settled()
        return result

    return arequest


def _begin(
    row: Provider, policy: Policy, requestor: Any, *, method: str, url: str, params: Any
) -> tuple[Flight, Changes] | None:
    try:
        changes = Changes()
        flight = begin_call(
            row, policy, method=method, url=url, body=params if isinstance(params, dict) else {},
            provider=row.at(object, host_of(requestor.base_url)), streamed=False,
            change=changes if isinstance(params, dict) else None,
        )  # fmt: skip
    except Exception:
        log.exception("costguard cannot read a request to %s and lets it pass unseen", row.name)
        return None
    return None if flight is None else (flight, changes)


def _depart(flight: Flight, changes: Changes, params: Any) -> Any:
    flight.sent()
    flight.call.attempts = 1
    return {**params, **changes} if changes else params


def _owner(either: Any) -> Any:
    if type(either).__name__ == "APIRequestor":
        return either
    raise AttributeError("voyageai makes what sends its requests anew for each of them")


VOYAGE = Provider(
    "voyage",
    package="voyageai",
    routes=(
        Route("(?:multimodal|contextualized)?embeddings", "embeddings", voyage_answer, produces_output=False),
        Route("rerank", "rerank", voyage_answer, produces_output=False),
    ),
    seams=(
        Seam("voyageai.api_resources.api_requestor", "APIRequestor.request", sync_request),
        Seam("voyageai.api_resources.api_requestor", "APIRequestor.arequest", async_request),
    ),
    clients=("voyageai.client.Client", "voyageai.client_async.AsyncClient"),
    owner=_owner,
)
