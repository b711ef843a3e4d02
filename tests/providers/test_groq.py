"""groq, a Stainless SDK: its row is all that is written for it."""

from __future__ import annotations

import groq
import groq._base_client
import pytest

from costguard.pricing.usage import Usage
from costguard.providers.groq import GROQ
from costguard.providers.usage import openai_answer
from tests.providers.contract import Contract
from tests.providers.stainless_sdk import StainlessSpeaker


@pytest.fixture(autouse=True)
def retry_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groq._base_client, "INITIAL_RETRY_DELAY", 0.001)


class GroqSpeaker(StainlessSpeaker):
    row = GROQ
    sync, asynchronous, base = groq.Groq, groq.AsyncGroq, groq._base_client
    ceiling = "max_completion_tokens"


class TestGroq(Contract):
    speaker = GroqSpeaker


def test_usage_of_a_stream_may_stand_in_an_object_of_its_own() -> None:
    usage = {"prompt_tokens": 18, "completion_tokens": 73, "total_tokens": 91, "queue_time": 0.28}
    assert openai_answer({"model": "m", "x_groq": {"id": "req_1", "usage": usage}}).usage == Usage(
        input_tokens=18, output_tokens=73
    )
