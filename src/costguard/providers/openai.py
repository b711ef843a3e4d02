"""The row of the `openai` package, for OpenAI, Azure and those who speak its protocol."""

from __future__ import annotations

from costguard.providers.batches import batch_answer, batch_file_answer
from costguard.providers.estimate import image_usage, speech_usage, transcript_usage
from costguard.providers.hosts import HOSTS, USAGE_HOSTS
from costguard.providers.rows import Provider, Route
from costguard.providers.usage import embedding_answer, openai_answer
from costguard.providers.usage_responses import responses_answer, video_answer

# `max_tokens` is deprecated in favor of `max_completion_tokens`, and reasoning models refuse it
# (developers.openai.com/api/reference, chat completions); others who speak the protocol may only know the old name.
_COMPLETION = {"openai": "max_completion_tokens", "azure": "max_completion_tokens", "": "max_tokens"}

_CHAT = ("content", "arguments", "refusal", "reasoning_content", "reasoning", "transcript")

OPENAI = Provider(
    "openai",
    package="openai",
    routes=(
        Route("chat/completions", "chat", openai_answer, max_output=("max_completion_tokens", "max_tokens"),
              sets=_COMPLETION, choices=("n",), deltas=_CHAT, inject=True),
        Route("completions", "completions", openai_answer, max_output=("max_tokens",), sets={"": "max_tokens"},
              choices=("best_of", "n"), inject=True),
        Route("responses", "responses", responses_answer, max_output=("max_output_tokens",),
              sets={"": "max_output_tokens"}, deltas=("delta",)),
        Route("responses/compact", "responses", responses_answer, deltas=("delta",)),
        Route(r"responses/[^/]+", "responses", responses_answer, method="get", deltas=("delta",), poll=True),
        Route(r"responses/[^/]+/cancel", "responses", responses_answer, poll=True),
        Route("embeddings", "embeddings", embedding_answer, produces_output=False),
        Route("rerank", "rerank", embedding_answer, produces_output=False),
        Route("images/(?:generations|edits|variations)", "images", openai_answer, guess=image_usage),
        Route("audio/speech", "speech", openai_answer, guess=speech_usage, deltas=("audio",)),
        Route("audio/(?:transcriptions|translations)", "transcriptions", openai_answer, guess=transcript_usage,
              deltas=("delta",)),
        Route("batches(?:/[^/]+/cancel)?", "batches", batch_answer, poll=True),
        Route("batches/[^/]+", "batches", batch_answer, method="get", poll=True),
        Route("files/[^/]+/content", "batches", batch_file_answer, method="get", poll=True, binary=True),
        Route("videos(?:/[^/]+/remix)?", "videos", video_answer),
        Route(r"threads/(?:[^/]+/)?runs", "runs", responses_answer, max_output=("max_completion_tokens",),
              sets={"": "max_completion_tokens"}, deltas=("value",), ordered=True),
        Route(r"threads/[^/]+/runs/[^/]+/(?:submit_tool_outputs|cancel)", "runs", responses_answer,
              deltas=("value",), poll=True),
        Route(r"threads/[^/]+/runs/[^/]+", "runs", responses_answer, method="get", poll=True),
    ),
    free=("/input_tokens", "/moderations"),
    hosts=HOSTS,
    classes={
        "AzureOpenAI": "azure", "AsyncAzureOpenAI": "azure",
        "BedrockOpenAI": "bedrock", "AsyncBedrockOpenAI": "bedrock",
    },
    usage_hosts=USAGE_HOSTS,
)  # fmt: skip
