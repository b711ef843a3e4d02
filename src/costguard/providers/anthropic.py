"""The row of the `anthropic` package, for its own API, Bedrock and Vertex."""

from __future__ import annotations

from costguard.providers.batches import message_answer
from costguard.providers.hosts import HOSTS
from costguard.providers.rows import Provider, Route
from costguard.providers.usage import openai_answer
from costguard.providers.usage_anthropic import anthropic_answer

_SPEAKERS = frozenset((
    "openrouter", "deepseek", "zai", "zhipuai", "moonshot", "minimax", "dashscope", "siliconflow", "novita", "stepfun",
))  # fmt: skip
"""Who speaks this protocol too, with models and prices of their own."""

ANTHROPIC = Provider(
    "anthropic",
    package="anthropic",
    routes=(
        Route("v1/messages", "chat", anthropic_answer, max_output=("max_tokens",), sets={"": "max_tokens"},
              before_answer=("thinking", "budget_tokens"), deltas=("text", "partial_json", "thinking"), merge=True),
        Route("v1/complete", "completions", openai_answer, max_output=("max_tokens_to_sample",),
              sets={"": "max_tokens_to_sample"}, deltas=("completion",)),
        Route("v1/messages/batches/[^/]+/results", "batches", message_answer, method="get", poll=True, each=True),
        Route("v1/messages/batches", "batches", anthropic_answer, poll=True),
    ),
    free=("/count_tokens",),
    hosts={"api.anthropic.com": "anthropic", **{host: name for host, name in HOSTS.items() if name in _SPEAKERS}},
    classes={
        "AnthropicBedrock": "bedrock", "AsyncAnthropicBedrock": "bedrock",
        "AnthropicVertex": "vertex", "AsyncAnthropicVertex": "vertex",
        "AnthropicGoogleCloud": "vertex", "AsyncAnthropicGoogleCloud": "vertex",
        "AnthropicFoundry": "azure", "AsyncAnthropicFoundry": "azure",
    },
)  # fmt: skip
