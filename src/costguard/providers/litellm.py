"""The row of `litellm`: its own functions are asked about, the requests they make in the end are metered.

LiteLLM goes by the openai SDK to OpenAI, Azure and some of those who speak their protocol: those requests are seen at
that SDK's seam. Its others go through its own HTTP handlers.
"""

from __future__ import annotations

from functools import partial

from costguard.providers.litellm_calls import async_call, async_route, carried, sync_call, sync_route
from costguard.providers.litellm_http import async_post, sync_post
from costguard.providers.litellm_streams import async_next, init, sync_next
from costguard.providers.rows import Provider, Route, Seam
from costguard.providers.usage import openai_answer
from costguard.providers.usage_responses import responses_answer

_HANDLERS = "litellm.llms.custom_httpx.http_handler"
_STREAMS = "litellm.litellm_core_utils.streaming_handler"

_FUNCTIONS = {
    "completion": "chat/completions",
    "text_completion": "completions",
    "embedding": "embeddings",
    "responses": "responses",
    "image_generation": "images/generations",
    "transcription": "audio/transcriptions",
    "speech": "audio/speech",
    "rerank": "rerank",
}
"""Each also as an async function, with an `a` before its name."""

LITELLM = Provider(
    "litellm",
    package="litellm",
    # For the size of a hold, and for answers whose request no seam saw: LiteLLM gives them in OpenAI's shape.
    routes=(
        Route("chat/completions", "chat", openai_answer, max_output=("max_completion_tokens", "max_tokens"),
              sets={"": "max_tokens"}, choices=("n",), deltas=("content", "arguments", "reasoning_content")),
        Route("completions", "completions", openai_answer, max_output=("max_tokens",), sets={"": "max_tokens"},
              choices=("best_of", "n")),
        Route("embeddings", "embeddings", openai_answer, produces_output=False),
        Route("responses", "responses", responses_answer, max_output=("max_output_tokens",),
              sets={"": "max_output_tokens"}, deltas=("delta",)),
        Route("images/generations", "images", openai_answer),
        Route("audio/transcriptions", "transcriptions", openai_answer),
        Route("audio/speech", "speech", openai_answer, produces_output=False),
        Route("rerank", "rerank", openai_answer, produces_output=False),
    ),
    seams=(
        *(Seam("litellm", name, partial(sync_call, path=path)) for name, path in _FUNCTIONS.items()),
        *(Seam("litellm", f"a{name}", partial(async_call, path=path)) for name, path in _FUNCTIONS.items()),
        Seam("litellm.router", "Router.function_with_fallbacks", sync_route),
        Seam("litellm.router", "Router.async_function_with_fallbacks", async_route),
        Seam("litellm.router", "run_async_function", carried),
        Seam(_HANDLERS, "HTTPHandler.post", sync_post),
        Seam(_HANDLERS, "AsyncHTTPHandler.post", async_post),
        Seam(_STREAMS, "CustomStreamWrapper.__init__", init),
        Seam(_STREAMS, "CustomStreamWrapper.__next__", sync_next),
        Seam(_STREAMS, "CustomStreamWrapper.__anext__", async_next),
    ),
    clients=("litellm.router.Router",),
)  # fmt: skip
