"""Usage as Ollama reports it, in the last part of an answer."""

from __future__ import annotations

from typing import Any

from costguard.pricing.usage import Usage
from costguard.providers.usage import Answer, count_of, fields, text_in


def ollama_answer(response: Any) -> Answer:
    """Chat, generate, embed. A prompt that was evaluated before leaves `prompt_eval_count` out.

    https://docs.ollama.com/api/usage; the older `embeddings` reports nothing.
    """
    source = fields(response)
    taken, given = source.get("prompt_eval_count"), source.get("eval_count")
    answer = Answer(None, text_in(source, "model"))
    if taken is None and given is None:
        return answer
    taken, given = count_of(0 if taken is None else taken), count_of(0 if given is None else given)
    if taken is not None and given is not None and (taken or given):
        found = {"input": taken, "output": given}
        answer.usage = Usage.trusted({name: count for name, count in found.items() if count})
    return answer
