"""The process of one contender of `benchmarks.usage`: `python -m benchmarks.pricers costguard|genai-prices|litellm`.

Each gets the SDK's own object of the same answer, and gives its cost. The peers run in environments without costguard.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

from openai.types.chat import ChatCompletion

from benchmarks.worker import Variant, serve

Price = Callable[[], object]

CHAT: dict[str, Any] = {
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-4o-2024-08-06",
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "One two three four five"}}
    ],
    "usage": {
        "prompt_tokens": 1_200, "completion_tokens": 300, "total_tokens": 1_500,
        "prompt_tokens_details": {"cached_tokens": 1_024, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 128, "audio_tokens": 0},
    },
    "service_tier": "default",
}  # fmt: skip
RESPONSE: dict[str, Any] = {
    "id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-5-2025-08-07", "status": "completed",
    "output": [
        {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
         "content": [{"type": "output_text", "text": "One two three", "annotations": []}]},
    ],
    "usage": {
        "input_tokens": 1_200, "output_tokens": 300, "total_tokens": 1_500,
        "input_tokens_details": {"cached_tokens": 1_024}, "output_tokens_details": {"reasoning_tokens": 128},
    },
    "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "service_tier": "default",
}  # fmt: skip
MESSAGE: dict[str, Any] = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "text", "text": "One two three"}], "stop_reason": "end_turn", "stop_sequence": None,
    "usage": {
        "input_tokens": 200, "output_tokens": 300, "cache_read_input_tokens": 1_024, "cache_creation_input_tokens": 100,
        "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 0},
        "service_tier": "standard",
    },
}  # fmt: skip


def costguard() -> dict[str, Price]:
    from anthropic.types import Message
    from openai.types.responses import Response

    from costguard.pricing.book import PriceBook
    from costguard.providers.usage import openai_answer
    from costguard.providers.usage_anthropic import anthropic_answer
    from costguard.providers.usage_responses import responses_answer

    book, now = PriceBook(), time.time_ns()

    def price(provider: str, read: Any, answer: Any) -> Price:
        def cost() -> object:
            told = read(answer)
            rates = book.rates(provider, told.model, now, told.context)
            return rates.nanos(told.usage), rates.missing(told.usage)  # type: ignore[union-attr]

        return cost

    return {
        "a chat completion": price("openai", openai_answer, ChatCompletion.construct(**CHAT)),
        "a response": price("openai", responses_answer, Response.construct(**RESPONSE)),
        "a message of Anthropic's": price("anthropic", anthropic_answer, Message.construct(**MESSAGE)),
    }


def genai_prices() -> dict[str, Price]:
    from genai_prices import Usage, calc_price, extract_usage

    answer: Any = ChatCompletion.construct(**CHAT)

    def attributes() -> object:
        usage = answer.usage
        found = Usage(
            input_tokens=usage.prompt_tokens,
            output_tokens=usage.completion_tokens,
            cache_read_tokens=usage.prompt_tokens_details.cached_tokens,
        )
        return calc_price(found, answer.model, provider_id="openai").total_price

    def extracted() -> object:
        found = extract_usage(answer.model_dump(), provider_id="openai", api_flavor="chat")
        return found.calc_price().total_price

    return {"attributes, calc_price": attributes, "extract_usage, calc_price": extracted}


def litellm() -> dict[str, Price]:
    # Without it, importing litellm fetches its price list.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    from litellm import ModelResponse, completion_cost

    answer = ModelResponse(**CHAT)
    return {"completion_cost": lambda: completion_cost(completion_response=answer, model="gpt-4o-2024-08-06")}


def repeated(price: Price) -> Callable[[int], object]:
    def run(count: int) -> None:
        for _ in range(count):
            price()

    return run


def main(name: str) -> None:
    contenders = {"costguard": costguard, "genai-prices": genai_prices, "litellm": litellm}
    variants = [Variant("nothing", repeated(lambda: None))]
    for variant, price in contenders[name]().items():
        assert price()
        variants.append(Variant(variant, repeated(price), base="nothing"))
    serve(variants, ("llm-costguard", "genai-prices", "litellm", "openai", "anthropic"))


if __name__ == "__main__":
    main(sys.argv[1])
