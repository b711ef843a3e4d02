"""Bedrock's runtime through boto3: run on the current one here, on older ones by test_matrix.py."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import botocore.config
import botocore.retryhandler
import botocore.session
import pytest
from botocore.response import StreamingBody

from costguard.pricing.usage import Usage
from costguard.providers.bedrock import BEDROCK
from costguard.providers.instrument import install, uninstall
from costguard.providers.usage_bedrock import HEADERS, converse_answer, converse_usage, invoke_answer
from tests.providers.bedrock_wire import bedrock_serving
from tests.providers.contract import ASK, FULL, MODEL, Contract, Speaker
from tests.providers.recording import Recording
from tests.providers.wires import TEXT, WireServer

SESSION = botocore.session.Session()
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
MESSAGES: list[Any] = [{"role": "user", "content": [{"text": ASK}]}]


class BedrockSpeaker(Speaker):
    row = BEDROCK
    answered_model = None

    def client(self, mode: str, service: str = "bedrock-runtime") -> Any:
        config = botocore.config.Config(retries={"max_attempts": 2, "mode": "legacy"}, read_timeout=20)
        client = SESSION.create_client(
            service, region_name="us-east-1", endpoint_url=self.server.url(mode), config=config,
            aws_access_key_id="none", aws_secret_access_key="none",
        )  # fmt: skip
        self.made.append(client)
        return client

    def ask(self, client: Any) -> Any:
        return client.converse(modelId=MODEL, messages=MESSAGES)

    def stream(self, client: Any) -> Any:
        return client.converse_stream(modelId=MODEL, messages=MESSAGES)["stream"]

    def text(self, item: Any) -> str:
        if "output" in item:
            return str(item["output"]["message"]["content"][0]["text"])
        return str(item.get("contentBlockDelta", {}).get("delta", {}).get("text", ""))

    def sent_ceiling(self, body: dict[str, Any]) -> Any:
        return body["inferenceConfig"]["maxTokens"]

    async def close(self) -> None:
        for client in self.made:
            client.close()


class TestBedrock(Contract):
    speaker = BedrockSpeaker

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def no_waiting(cls) -> Iterator[None]:
        before = botocore.retryhandler.delay_exponential
        botocore.retryhandler.delay_exponential = lambda *_given, **_more: 0.001
        yield
        botocore.retryhandler.delay_exponential = before

    @pytest.fixture(scope="class")
    @classmethod
    def one_wire(cls) -> Iterator[WireServer]:
        yield from bedrock_serving()

    @pytest.fixture
    async def sdk(self, wire: WireServer) -> AsyncIterator[Speaker]:
        made = self.speaker(wire, "sync")
        yield made
        wire.release.set()
        await made.close()

    async def test_the_body_of_invoke_model_is_read_while_the_caller_reads_it(
        self, sdk: Any, policy: Recording
    ) -> None:
        answer = sdk.client("plain").invoke_model(modelId=CLAUDE, body=json.dumps({"messages": [], "max_tokens": 50}))
        assert type(answer["body"]) is StreamingBody
        assert policy.settled == []
        assert json.loads(answer["body"].read())["content"][0]["text"] == TEXT
        call, outcome = policy.only()
        assert (call.model, call.max_output_tokens, outcome.model, outcome.response_id) == (
            CLAUDE,
            50,
            "claude-1",
            "m-1",
        )
        assert outcome.usage == Usage.of({"input": 100, "cache_write_1h": 30, "output": 20})

    @pytest.mark.parametrize("way", ["chunks", "lines", *(["into"] if hasattr(StreamingBody, "readinto") else [])])
    async def test_however_the_caller_reads_it(self, sdk: Any, policy: Recording, way: str) -> None:
        body = sdk.client("plain").invoke_model(modelId=CLAUDE, body="{}")["body"]
        if way == "into":
            buffer = bytearray(7)
            while body.readinto(buffer):
                pass
        else:
            _ = list(body.iter_chunks(7) if way == "chunks" else body.iter_lines())
        assert policy.only()[1].model == "claude-1"

    @pytest.mark.parametrize("closed", [True, False])
    async def test_the_headers_count_for_a_body_that_is_not_read(
        self, sdk: Any, policy: Recording, closed: bool
    ) -> None:
        answer = sdk.client("plain").invoke_model(modelId=CLAUDE, body="{}")
        if closed:
            answer["body"].close()
        del answer
        await self._collected()
        policy.wait(1)
        outcome = policy.only()[1]
        assert (outcome.status, outcome.usage, outcome.estimated) == ("ok", FULL, False)

    @pytest.mark.parametrize(("model", "named"), [(CLAUDE, "claude-1"), ("meta.llama3-8b-instruct-v1:0", None)])
    async def test_a_stream_of_invoke_model_is_one_call(
        self, sdk: Any, policy: Recording, model: str, named: str | None
    ) -> None:
        body = json.dumps({"prompt": ASK})
        answer = sdk.client("plain").invoke_model_with_response_stream(modelId=model, body=body)
        assert len(list(answer["body"])) >= 6
        call, outcome = policy.only()
        assert (call.streamed, outcome.usage, outcome.model, outcome.estimated) == (True, FULL, named, False)

    async def test_embeddings_have_no_output(self, sdk: Any, policy: Recording) -> None:
        body = json.dumps({"inputText": ASK})
        sdk.client("plain").invoke_model(modelId="amazon.titan-embed-text-v2:0", body=body)["body"].read()
        call, outcome = policy.only()
        assert (call.operation, call.produces_output) == ("embeddings", False)
        assert outcome.usage is not None
        assert outcome.usage.input_tokens == 100

    async def test_counting_tokens_is_free(self, sdk: Any, policy: Recording) -> None:
        client = sdk.client("plain")
        if hasattr(client, "count_tokens"):
            asked = {"converse": {"messages": MESSAGES}}
            assert client.count_tokens(modelId=CLAUDE, input=asked)["inputTokens"] == 7
        assert (policy.reserved, policy.settled) == ([], [])

    async def test_other_services_pass_through(self, sdk: Any, policy: Recording, wire: WireServer) -> None:
        with pytest.raises(Exception):  # noqa: B017, PT011 - the server does not know it
            sdk.client("refuse", "sqs").send_message(QueueUrl=wire.url("refuse"), MessageBody="hello")
        assert wire.requests
        assert (policy.reserved, policy.settled) == ([], [])

    async def test_parameters_that_are_wrong_are_not_sent_and_cost_nothing(
        self, sdk: Any, policy: Recording, wire: WireServer
    ) -> None:
        with pytest.raises(Exception):  # noqa: B017, PT011 - botocore's own
            sdk.client("plain").converse(modelId=MODEL, messages="text")
        assert policy.only()[1].billable is False
        assert wire.requests == []

    async def test_media_are_not_read_as_text(self, sdk: Any, policy: Recording) -> None:
        image = {"image": {"format": "png", "source": {"bytes": b"\0" * 300_000}}}
        messages = [{"role": "user", "content": [{"text": ASK}, image]}]
        sdk.client("plain").converse(modelId=MODEL, messages=messages)
        assert 1_600 <= policy.only()[0].input_tokens <= 1_700

    @pytest.mark.parametrize(
        ("model", "other", "where"),
        [
            (CLAUDE, "anthropic.claude-3-haiku-20240307-v1:0", ("max_tokens",)),
            ("amazon.titan-text-lite-v1", "amazon.titan-text-express-v1", ("textGenerationConfig", "maxTokenCount")),
            ("meta.llama3-8b-instruct-v1:0", "us.meta.llama3-3-70b-instruct-v1:0", ("max_gen_len",)),
        ],
    )
    async def test_a_body_is_altered_in_its_makers_words(
        self, sdk: Any, wire: WireServer, model: str, other: str, where: tuple[str, ...]
    ) -> None:
        class Changing(Recording):
            def reserve(self, call: Any) -> None:
                super().reserve(call)
                assert not call.knobs.change_model("mistral.mistral-7b-instruct-v0:2")
                assert call.knobs.lower(7)
                assert call.knobs.change_model(other)

        policy = Changing()
        install(policy)
        try:
            sdk.client("plain").invoke_model(modelId=model, body=json.dumps({"prompt": ASK}))["body"].read()
        finally:
            uninstall(policy)
        found: Any = wire.requests[0][1]
        assert (found["model"], found["prompt"]) == (other, ASK)
        for name in where:
            found = found[name]
        assert found == 7


def test_what_was_read_from_and_written_to_a_cache_is_beside_the_input() -> None:
    usage = converse_usage({
        "inputTokens": 10, "outputTokens": 4, "cacheReadInputTokens": 100, "cacheWriteInputTokens": 70,
        "cacheDetails": [{"ttl": "5m", "inputTokens": 50}, {"ttl": "1h", "inputTokens": 20}],
    })  # fmt: skip
    assert usage is not None
    assert usage.buckets == {"input": 10, "output": 4, "cache_read": 100, "cache_write_5m": 50, "cache_write_1h": 20}


def test_tier_and_latency_are_what_the_price_depends_on() -> None:
    usage = {"inputTokens": 1, "outputTokens": 1}
    assert converse_answer({"usage": usage, "serviceTier": {"type": "default"}}).context == ()
    answer = converse_answer(
        {"usage": usage, "serviceTier": {"type": "flex"}, "performanceConfig": {"latency": "optimized"}}
    )
    assert answer.context == (("latency", "optimized"), ("service_tier", "flex"))


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        ({"usage": {"inputTokens": 3, "outputTokens": 2, "cacheReadInputTokenCount": 5}},
         Usage.of({"input": 3, "output": 2, "cache_read": 5})),
        ({"prompt_token_count": 3, "generation_token_count": 2}, Usage.of({"input": 3, "output": 2})),
        ({"inputTextTokenCount": 3, "results": [{"tokenCount": 1}, {"tokenCount": 1}]},
         Usage.of({"input": 3, "output": 2})),
        ({"usage": {"prompt_tokens": 3, "completion_tokens": 2}}, Usage.of({"input": 3, "output": 2})),
        ({"images": ["a", "b"]}, Usage(images=2)),
        ({HEADERS: {"input-token-count": "3", "output-token-count": "2", "cache-read-input-token-count": "4"}},
         Usage.of({"input": 3, "output": 2, "cache_read": 4})),
        ({HEADERS: {"input-token-count": "-3"}}, None),
        ({"amazon-bedrock-invocationMetrics": {"inputTokenCount": 3, "outputTokenCount": 2}},
         Usage.of({"input": 3, "output": 2})),
        ({"amazon-bedrock-invocationMetrics": {"inputTokenCount": "3", "outputTokenCount": 2}}, None),
        ({"inputTextTokenCount": -3}, None),
        ({}, None),
        ("text", None),
    ],
)  # fmt: skip
def test_bodies_say_their_usage_in_many_ways(body: Any, usage: Usage | None) -> None:
    assert invoke_answer(body).usage == usage
