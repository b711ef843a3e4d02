"""The row of the `groq` package."""

from __future__ import annotations

from costguard.providers.estimate import transcript_usage
from costguard.providers.rows import Provider, Route
from costguard.providers.usage import openai_answer
from costguard.providers.usage_mistral import speech_guess
from costguard.providers.usage_responses import responses_answer

_CHAT = ("content", "arguments", "reasoning")

GROQ = Provider(
    "groq",
    package="groq",
    routes=(
        Route("chat/completions", "chat", openai_answer, max_output=("max_completion_tokens", "max_tokens"),
              # `max_tokens` is deprecated in favor of it (https://console.groq.com/docs/api-reference#chat-create).
              sets={"": "max_completion_tokens"}, choices=("n",), deltas=_CHAT),
        Route("responses", "responses", responses_answer, max_output=("max_output_tokens",),
              sets={"": "max_output_tokens"}, deltas=("delta",)),
        Route("embeddings", "embeddings", openai_answer, produces_output=False),
        Route("audio/(?:transcriptions|translations)", "transcriptions", openai_answer, guess=transcript_usage),
        Route("audio/speech", "speech", openai_answer, guess=speech_guess),
    ),
)  # fmt: skip
