"""The row of the `google-genai` package, for the Gemini API and Vertex AI.

The model is in the path: `models/gemini-3.5-flash:generateContent`, with `publishers/google/` before it on Vertex AI.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary, ref

from costguard.providers.attempts import attempt
from costguard.providers.google_guess import cache_usage, content_usage, video_usage
from costguard.providers.google_interactions import CEILING as INTERACTION_CEILING
from costguard.providers.google_interactions import (
    do_request,
    do_request_async,
    interaction_event,
    stainless_attempt,
    stainless_request,
)
from costguard.providers.google_request import CEILING
from costguard.providers.google_seams import async_request, async_request_streamed, request, request_streamed
from costguard.providers.rows import Provider, Route, Seam, Wrapper
from costguard.providers.usage import Answer
from costguard.providers.usage_google import google_answer, interaction_answer, predict_answer

_CLIENT = "google.genai._api_client"
_OLDER = "google.genai._interactions._base_client"
_FUNCTIONS: dict[str, Wrapper] = {
    "request": request, "async_request": async_request,
    "request_streamed": request_streamed, "async_request_streamed": async_request_streamed,
    "_request_once": attempt, "_async_request_once": attempt,
}  # fmt: skip

_clients: WeakKeyDictionary[Any, ref[Any]] = WeakKeyDictionary()
"""HTTP client to the API client it belongs to: all that interactions know of the client they were made from. That
has the HTTP client itself, and would keep it here for ever."""


def owner(holder: Any) -> Any:
    """The API client behind a client, a session or an interaction."""
    api = getattr(holder, "_api_client", None)
    if api is not None:
        for name in ("_httpx_client", "_async_httpx_client"):
            http = getattr(api, name, None)
            if http is not None:
                _clients[http] = ref(api)
        return api
    configuration = getattr(holder, "sdk_configuration", None)
    for name in ("client", "async_client"):
        http = getattr(configuration, name, None)
        api = _clients[http]() if http is not None and http in _clients else None
        if api is not None:
            return api
    return holder


def _unsaid(_response: Any) -> Answer:
    return Answer()


GOOGLE = Provider(
    "google",
    package="google.genai",
    routes=(
        Route(r"[^/]+:(?:g|streamG)enerateContent", "chat", google_answer, max_output=(CEILING,), sets={"": CEILING},
              before_answer=("thinkingBudget",), choices=("candidateCount",), guess=content_usage),
        Route(r"[^/]+:(?:batchEmbedContents|embedContent)", "embeddings", google_answer, produces_output=False),
        Route(r"[^/]+:predict", "predict", predict_answer),
        Route(r"[^/]+:predictLongRunning", "videos", _unsaid, guess=video_usage),
        Route("interactions", "interactions", interaction_answer, max_output=(INTERACTION_CEILING,),
              sets={"": INTERACTION_CEILING}, event=interaction_event),
        Route(r"interactions/[^/]+", "interactions", interaction_answer, method="get", event=interaction_event,
              poll=True),
        Route("cachedContents", "caches", _unsaid, produces_output=False, guess=cache_usage),
    ),
    # 1.0 to 1.3 call the class ApiClient.
    seams=(
        *(Seam(_CLIENT, f"{cls}.{name}", wrap) for cls in ("BaseApiClient", "ApiClient")
          for name, wrap in _FUNCTIONS.items()),
        Seam(_OLDER, "SyncAPIClient.request", stainless_request),
        Seam(_OLDER, "AsyncAPIClient.request", stainless_request),
        Seam(_OLDER, "BaseClient._build_request", stainless_attempt),
        Seam("google.genai._gaos.basesdk", "BaseSDK.do_request", do_request),
        Seam("google.genai._gaos.basesdk", "AsyncBaseSDK.do_request_async", do_request_async),
        Seam("google.genai._gaos._hooks.sdkhooks", "SDKHooks.before_request", attempt),
        Seam("google.genai._gaos._hooks.asyncsdkhooks", "AsyncSDKHooks.before_request", attempt),
    ),
    clients=("google.genai.client.Client", "google.genai.client.AsyncClient"),
    owner=owner,
)  # fmt: skip
