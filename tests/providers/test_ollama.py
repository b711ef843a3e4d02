"""ollama, 0.4 to 0.6: models of one's own machine, and those of Ollama's."""

from __future__ import annotations

import inspect
from typing import Any

import ollama
import pytest

from costguard.pricing.book import PriceBook
from costguard.pricing.usage import Usage
from costguard.providers.ollama import OLLAMA
from costguard.providers.usage_ollama import ollama_answer
from tests.providers.contract import ASK, FULL, MODEL, Changing, Contract, Speaker
from tests.providers.recording import Recording
from tests.providers.wires import TEXT, WireServer

MESSAGES: list[Any] = [{"role": "user", "content": ASK}]


class OllamaSpeaker(Speaker):
    row = OLLAMA
    answered_model = MODEL
    retries = False
    streams_send_when_asked = False

    def client(self, mode: str) -> Any:
        # Without TLS a client is cheap to make.
        made = (ollama.AsyncClient if self.is_async else ollama.Client)(host=self.server.url(mode), verify=False)
        self.made.append(made)
        return made

    def ask(self, client: Any) -> Any:
        return client.chat(model=MODEL, messages=MESSAGES)

    def stream(self, client: Any) -> Any:
        return client.chat(model=MODEL, messages=MESSAGES, stream=True)

    def text(self, item: Any) -> str:
        return str(item.message.content or "")

    def sent_ceiling(self, body: dict[str, Any]) -> Any:
        return body["options"]["num_predict"]

    async def close(self) -> None:
        for client in self.made:
            closed = client._client.aclose() if self.is_async else client._client.close()
            if inspect.isawaitable(closed):
                await closed


class TestOllama(Contract):
    speaker = OllamaSpeaker

    async def test_generate_is_read_like_chat(self, sdk: Speaker, policy: Recording) -> None:
        answer = await sdk.got(sdk.client("plain").generate(model=MODEL, prompt=ASK))
        assert answer.response == TEXT
        stream = await sdk.got(sdk.client("plain").generate(model=MODEL, prompt=ASK, stream=True))
        assert "".join([item.response async for item in sdk.each(stream)]) == TEXT
        assert [outcome.usage for _, outcome in policy.settled] == [FULL, FULL]

    async def test_a_ceiling_stands_beside_the_options_of_the_caller(self, sdk: Speaker, wire: WireServer) -> None:
        changing = Changing(ceiling=7, model="model-2")
        instrumented = sdk.client("plain")
        from costguard.providers.instrument import instrument, uninstrument_client

        instrument(instrumented, changing)
        options = {"temperature": 0, "num_predict": 90}
        await sdk.got(instrumented.chat(model=MODEL, messages=MESSAGES, options=options))
        uninstrument_client(instrumented)
        assert changing.reserved[0].max_output_tokens == 90
        assert wire.requests[0][1]["options"] == {"temperature": 0, "num_predict": 7}
        assert options == {"temperature": 0, "num_predict": 90}

    async def test_a_model_in_the_cloud_is_not_taken_for_one_at_home(self, sdk: Speaker, policy: Recording) -> None:
        await sdk.got(sdk.client("plain").chat(model="gpt-oss:120b-cloud", messages=MESSAGES))
        assert policy.only()[0].provider == "ollama-cloud"

    async def test_an_image_is_not_read_as_text(self, sdk: Speaker, policy: Recording) -> None:
        pixels = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ" * 20_000
        messages = [{"role": "user", "content": ASK, "images": [pixels]}]
        await sdk.got(sdk.client("plain").chat(model=MODEL, messages=messages))
        assert 1_000 < policy.only()[0].input_tokens < 4_000


def test_a_model_at_home_costs_nothing_and_one_in_the_cloud_is_unpriced() -> None:
    book = PriceBook()
    at_home = book.receipt("ollama", "gemma3:1b", FULL, 1_700_000_000_000_000_000)
    assert (at_home.cost, at_home.source, at_home.unpriced) == (0, "self-hosted", ())
    assert book.receipt("ollama-cloud", "gemma3:1b", FULL, 1_700_000_000_000_000_000).cost is None
    own = PriceBook({"ollama/gemma3:1b": {"input": 1, "output": 2}})
    assert own.receipt("ollama", "gemma3:1b", FULL, 1_700_000_000_000_000_000).cost is not None


@pytest.mark.parametrize(
    ("said", "usage"),
    [
        ({"prompt_eval_count": 19, "eval_count": 104}, Usage(input_tokens=19, output_tokens=104)),
        ({"eval_count": 38}, Usage(output_tokens=38)),
        ({"prompt_eval_count": 7}, Usage(input_tokens=7)),
        ({}, None),
        ({"prompt_eval_count": -1, "eval_count": 4}, None),
        ({"prompt_eval_count": "many"}, None),
        (None, None),
    ],
)
def test_counts_may_be_left_out(said: Any, usage: Usage | None) -> None:
    assert ollama_answer(said).usage == usage
