"""The row of the `openai` package, for OpenAI, Azure and those who speak its protocol."""

from __future__ import annotations

from costguard.providers.estimate import image_usage, speech_usage, transcript_usage
from costguard.providers.rows import Provider, Route
from costguard.providers.usage import openai_answer, responses_answer, video_answer

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
        Route("embeddings", "embeddings", openai_answer, produces_output=False),
        Route("images/(?:generations|edits|variations)", "images", openai_answer, guess=image_usage),
        Route("audio/speech", "speech", openai_answer, guess=speech_usage, deltas=("audio",)),
        Route("audio/(?:transcriptions|translations)", "transcriptions", openai_answer, guess=transcript_usage,
              deltas=("delta",)),
        Route("videos(?:/[^/]+/remix)?", "videos", video_answer),
        Route(r"threads/(?:[^/]+/)?runs", "runs", responses_answer, max_output=("max_completion_tokens",),
              sets={"": "max_completion_tokens"}, deltas=("value",), ordered=True),
        Route(r"threads/[^/]+/runs/[^/]+/(?:submit_tool_outputs|cancel)", "runs", responses_answer,
              deltas=("value",), poll=True),
        Route(r"threads/[^/]+/runs/[^/]+", "runs", responses_answer, method="get", poll=True),
    ),
    free=("/input_tokens", "/moderations", "/batches"),
    hosts={
        "api.openai.com": "openai",
        "openai.azure.com": "azure",
        "cognitiveservices.azure.com": "azure",
        "services.ai.azure.com": "azure",
        "openrouter.ai": "openrouter",
        "api.x.ai": "xai",
        "api.deepseek.com": "deepseek",
        "api.perplexity.ai": "perplexity",
        "api.together.xyz": "together",
        "api.together.ai": "together",
        "api.cerebras.ai": "cerebras",
        "api.groq.com": "groq",
        "api.mistral.ai": "mistral",
        "api.anthropic.com": "anthropic",
        "generativelanguage.googleapis.com": "google",
        "api.fireworks.ai": "fireworks",
    },
    classes={"AzureOpenAI": "azure", "AsyncAzureOpenAI": "azure"},
    # Others answer 400 to `stream_options` (openai-python#1469). Azure takes it from this version on, see `site.py`.
    usage_hosts=("api.openai.com",),
)  # fmt: skip
