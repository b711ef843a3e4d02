"""together, a Stainless SDK: its row is all that is written for it."""

from __future__ import annotations

import pytest
import together
import together._base_client

from costguard.providers.together import TOGETHER
from tests.providers.contract import Contract
from tests.providers.stainless_sdk import StainlessSpeaker


@pytest.fixture(autouse=True)
def retry_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together._base_client, "INITIAL_RETRY_DELAY", 0.001)


class TogetherSpeaker(StainlessSpeaker):
    row = TOGETHER
    sync, asynchronous, base = together.Together, together.AsyncTogether, together._base_client
    ceiling = "max_tokens"


class TestTogether(Contract):
    speaker = TogetherSpeaker
