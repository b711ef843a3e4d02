"""The row of the `together` package, 2.x and 3.x; 1.x has another seam and is not seen."""

from __future__ import annotations

from costguard.providers.estimate import image_usage, transcript_usage
from costguard.providers.rows import Provider, Route
from costguard.providers.usage import openai_answer
from costguard.providers.usage_mistral import speech_guess

TOGETHER = Provider(
    "together",
    package="together",
    routes=(
        Route("chat/completions", "chat", openai_answer, max_output=("max_tokens",), sets={"": "max_tokens"},
              choices=("n",), deltas=("content", "arguments", "reasoning")),
        Route("completions", "completions", openai_answer, max_output=("max_tokens",), sets={"": "max_tokens"},
              choices=("n",)),
        Route("embeddings", "embeddings", openai_answer, produces_output=False),
        Route("rerank", "rerank", openai_answer, produces_output=False),
        Route("images/generations", "images", openai_answer, guess=image_usage),
        Route("audio/speech", "speech", openai_answer, guess=speech_guess),
        Route("audio/(?:transcriptions|translations)", "transcriptions", openai_answer, guess=transcript_usage),
    ),
)  # fmt: skip
