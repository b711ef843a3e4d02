"""google-genai, 1.10 to 3.x: run on the current one here, on older ones by test_matrix.py."""

from __future__ import annotations

import gc
import importlib.util
import warnings
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from google import genai
from google.genai import types
from google.oauth2.credentials import Credentials

from costguard.errors import BudgetExceeded
from costguard.pricing.book import PriceBook
from costguard.pricing.usage import Usage
from costguard.providers.google import GOOGLE
from costguard.providers.instrument import install, instrument_client, uninstall, uninstrument_client
from costguard.providers.usage_google import google_answer
from tests.providers.contract import ASK, FULL, MODEL, Contract, Speaker
from tests.providers.google_wire import google_serving
from tests.providers.recording import Recording
from tests.providers.wires import TEXT, WireServer

HAS_RETRIES = hasattr(types, "HttpRetryOptions")
HAS_INTERACTIONS = hasattr(genai.Client, "interactions")
# Before 3, interactions are those of another SDK inside, which knows no ceiling of ours and no client but its own.
OWN_INTERACTIONS = importlib.util.find_spec("google.genai._gaos") is not None


class GoogleSpeaker(Speaker):
    row = GOOGLE
    retries = HAS_RETRIES

    def client(self, mode: str, **more: Any) -> Any:
        options: dict[str, Any] = {"base_url": self.server.url(mode)}
        if HAS_RETRIES:
            quick = {"attempts": 3, "initial_delay": 0.001, "max_delay": 0.01, "jitter": 0.0}
            options["retry_options"] = types.HttpRetryOptions(**quick)
        client = genai.Client(**(more or {"api_key": "none"}), http_options=types.HttpOptions(**options))
        self.made.append(client)
        return client

    def models(self, client: Any) -> Any:
        return client.aio.models if self.is_async else client.models

    def ask(self, client: Any) -> Any:
        return self.models(client).generate_content(model=MODEL, contents=ASK)

    def stream(self, client: Any) -> Any:
        return self.models(client).generate_content_stream(model=MODEL, contents=ASK)

    def text(self, item: Any) -> str:
        return item.text or ""

    def sent_ceiling(self, body: dict[str, Any]) -> Any:
        return body["generationConfig"]["maxOutputTokens"]

    async def close(self) -> None:
        for client in self.made:
            for closing in (getattr(client.aio, "aclose", None), getattr(client, "close", None)):
                if closing is not None:
                    await self.got(closing())


@pytest.fixture(scope="class")
def google_server() -> Iterator[WireServer]:
    yield from google_serving()


class TestGoogle(Contract):
    speaker = GoogleSpeaker

    @pytest.fixture(scope="class")
    @classmethod
    def one_wire(cls) -> Iterator[WireServer]:
        yield from google_serving()

    async def test_vertex_is_a_provider_of_its_own_at_googles_prices(self, sdk: Any, policy: Recording) -> None:
        keys = Credentials(token="none")  # type: ignore[no-untyped-call]
        client = sdk.client("plain", vertexai=True, project="p", location="europe-west4", credentials=keys)
        await sdk.got(sdk.models(client).generate_content(model="gemini-2.5-flash", contents=ASK))
        call, outcome = policy.only()
        assert (call.provider, call.model, outcome.usage) == ("vertex", "gemini-2.5-flash", FULL)
        assert "/locations/europe-west4/publishers/google/models/" in sdk.server.requests[0][0]
        rates = PriceBook().rates("vertex", call.model, call.started_ns)
        assert rates is not None

    async def test_each_request_of_automatic_function_calling_is_a_call(self, sdk: Any, policy: Recording) -> None:
        def weather(city: str) -> str:
            """The weather of a city."""
            return f"rain in {city}"

        # Older versions do not resolve annotations that are text.
        weather.__annotations__ = {"city": str, "return": str}
        config = types.GenerateContentConfig(tools=[weather])
        ask = sdk.models(sdk.client("plain")).generate_content
        answer = await sdk.got(ask(model=MODEL, contents=ASK, config=config))
        assert answer.text == TEXT
        assert [outcome.usage for _, outcome in policy.settled] == [FULL, FULL]

    async def test_a_chat_is_seen(self, sdk: Any, policy: Recording) -> None:
        client = sdk.client("plain")
        chat = (client.aio if sdk.is_async else client).chats.create(model=MODEL)
        await sdk.got(chat.send_message(ASK))
        stream = await sdk.got(chat.send_message_stream(ASK))
        assert "".join([item.text or "" async for item in sdk.each(stream)]) == TEXT
        assert [(call.streamed, outcome.usage) for call, outcome in policy.settled] == [(False, FULL), (True, FULL)]

    async def test_embeddings_are_estimated_where_nothing_is_said(self, sdk: Any, policy: Recording) -> None:
        embed = sdk.models(sdk.client("plain")).embed_content
        await sdk.got(embed(model="gemini-embedding-001", contents=["How many tokens are in this?"]))
        call, outcome = policy.only()
        assert (call.operation, call.produces_output, outcome.estimated) == ("embeddings", False, True)
        assert outcome.usage is not None
        assert 5 <= outcome.usage.input_tokens <= 20

    async def test_counting_tokens_is_free(self, sdk: Any, policy: Recording) -> None:
        await sdk.got(sdk.models(sdk.client("plain")).count_tokens(model=MODEL, contents=ASK))
        assert (policy.reserved, policy.settled) == ([], [])

    async def test_a_cache_is_charged_for_what_it_took(self, sdk: Any, policy: Recording) -> None:
        client = sdk.client("plain")
        config = types.CreateCachedContentConfig(contents=[types.Content(role="user", parts=[types.Part(text=ASK)])])
        await sdk.got((client.aio if sdk.is_async else client).caches.create(model=MODEL, config=config))
        call, outcome = policy.only()
        assert (call.operation, call.model, call.produces_output) == ("caches", MODEL, False)
        assert (outcome.usage, outcome.estimated) == (Usage(input_tokens=2048), True)

    async def test_images_are_counted_as_they_come(self, sdk: Any, policy: Recording) -> None:
        keys = Credentials(token="none")  # type: ignore[no-untyped-call]
        client = sdk.client("plain", vertexai=True, project="p", location="global", credentials=keys)
        draw = sdk.models(client).generate_images
        config = types.GenerateImagesConfig(number_of_images=3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            await sdk.got(draw(model="imagen-4.0-generate-001", prompt="a hill", config=config))
        call, outcome = policy.only()
        assert (call.model, outcome.usage) == ("imagen-4.0-generate-001", Usage(images=2))

    async def test_media_are_not_read_as_text(self, sdk: Any, policy: Recording) -> None:
        image = types.Part.from_bytes(data=b"\0" * 300_000, mime_type="image/png")
        await sdk.got(sdk.models(sdk.client("plain")).generate_content(model=MODEL, contents=[ASK, image]))
        call = policy.only()[0]
        assert 1_600 <= call.input_tokens <= 1_700

    async def test_the_callers_ceiling_is_read_and_lowered_in_a_copy(self, sdk: Any, wire: WireServer) -> None:
        class Lowering(Recording):
            def reserve(self, call: Any) -> None:
                super().reserve(call)
                assert (call.max_output_tokens, call.knobs.least) == (1_000, 200)
                assert call.knobs.lower(7)

        policy = Lowering()
        config = types.GenerateContentConfig(
            max_output_tokens=500, candidate_count=2, temperature=0.5,
            thinking_config=types.ThinkingConfig(**{"thinking_budget": 200} if HAS_RETRIES else {}),
        )  # fmt: skip
        if not HAS_RETRIES:
            pytest.skip("this version has no thinking budget")
        install(policy)
        try:
            await sdk.got(sdk.models(sdk.client("plain")).generate_content(model=MODEL, contents=ASK, config=config))
        finally:
            uninstall(policy)
        assert wire.requests[0][1]["generationConfig"]["maxOutputTokens"] == 7
        assert wire.requests[0][1]["generationConfig"]["temperature"] == 0.5
        assert config.max_output_tokens == 500


@pytest.mark.skipif(not HAS_INTERACTIONS, reason="this version of google-genai has no interactions")
class TestInteractions:
    @pytest.fixture(params=["sync", "async"])
    async def sdk(self, request: pytest.FixtureRequest, google_server: WireServer) -> Any:
        google_server.requests.clear()
        google_server._count.clear()
        made = GoogleSpeaker(google_server, request.param)
        yield made
        await made.close()

    def of(self, sdk: Any, client: Any) -> Any:
        return (client.aio if sdk.is_async else client).interactions

    @pytest.fixture
    def policy(self) -> Iterator[Recording]:
        recording = Recording()
        install(recording)
        yield recording
        uninstall(recording)

    async def test_an_interaction_is_one_call(self, sdk: Any, policy: Recording) -> None:
        await sdk.got(self.of(sdk, sdk.client("plain")).create(model=MODEL, input=ASK))
        call, outcome = policy.only()
        assert (call.operation, call.model, call.attempts) == ("interactions", MODEL, 1)
        assert (outcome.usage, outcome.estimated) == (FULL, False)

    async def test_its_stream_too(self, sdk: Any, policy: Recording) -> None:
        stream = await sdk.got(self.of(sdk, sdk.client("plain")).create(model=MODEL, input=ASK, stream=True))
        _ = [event async for event in sdk.each(stream)]
        call, outcome = policy.only()
        assert (call.streamed, outcome.usage, outcome.estimated) == (True, FULL, False)

    async def test_one_in_the_background_is_counted_when_it_is_read(self, sdk: Any, policy: Recording) -> None:
        of = self.of(sdk, sdk.client("plain"))
        await sdk.got(of.create(agent="deep-research", input=ASK, background=True))
        assert policy.only()[1].status == "pending"
        await sdk.got(of.get("i-1"))
        await sdk.got(of.get("i-1"))
        told = [outcome for _, outcome in policy.settled[1:]]
        assert {(outcome.response_id, outcome.by_response, outcome.usage) for outcome in told} == {("i-1", True, FULL)}

    async def test_retries_are_attempts(self, sdk: Any, policy: Recording) -> None:
        await sdk.got(self.of(sdk, sdk.client("fail2")).create(model=MODEL, input=ASK))
        assert policy.only()[0].attempts == 3

    async def test_a_refusal_comes_before_the_provider_is_asked(self, sdk: Any) -> None:
        recording = Recording(refuse=True)
        install(recording)
        try:
            with pytest.raises(BudgetExceeded):
                await sdk.got(self.of(sdk, sdk.client("plain")).create(model=MODEL, input=ASK))
        finally:
            uninstall(recording)
        assert (recording.settled, sdk.server.requests) == ([], [])

    @pytest.mark.skipif(not OWN_INTERACTIONS, reason="not before google-genai 3")
    async def test_a_ceiling_and_a_model_are_set(self, sdk: Any) -> None:
        class Changing(Recording):
            def reserve(self, call: Any) -> None:
                super().reserve(call)
                assert call.knobs.lower(7)
                assert call.knobs.change_model("model-2")

        policy = Changing()
        install(policy)
        try:
            await sdk.got(self.of(sdk, sdk.client("plain")).create(model=MODEL, input=ASK))
        finally:
            uninstall(policy)
        body = sdk.server.requests[0][1]
        assert (body["model"], body["generation_config"]["max_output_tokens"]) == ("model-2", 7)

    async def test_an_error_status_costs_nothing(self, sdk: Any, policy: Recording) -> None:
        with pytest.raises(Exception):  # noqa: B017, PT011 - the generated SDK's own
            await sdk.got(self.of(sdk, sdk.client("refuse")).create(model=MODEL, input=ASK))
        outcome = policy.only()[1]
        assert (outcome.status, outcome.billable) == ("error", False)

    @pytest.mark.skipif(not OWN_INTERACTIONS, reason="not before google-genai 3")
    async def test_those_of_one_client_are_watched_alone(self, sdk: Any) -> None:
        recording = Recording()
        watched, other = sdk.client("plain"), sdk.client("plain")
        instrument_client(watched, recording)
        for client in (watched, other):
            await sdk.got(self.of(sdk, client).create(model=MODEL, input=ASK))
        uninstrument_client(watched)
        assert recording.only()[1].usage == FULL


def answered(usage: dict[str, Any], model: str = "gemini-2.5-flash", **more: Any) -> Any:
    return google_answer({"usageMetadata": usage, "modelVersion": model, **more})


def test_tokens_of_media_have_buckets_of_their_own() -> None:
    usage = answered({
        "promptTokenCount": 1518, "candidatesTokenCount": 202, "cachedContentTokenCount": 1122,
        "thoughtsTokenCount": 185, "toolUsePromptTokenCount": 10,
        "promptTokensDetails": [
            {"modality": "TEXT", "tokenCount": 43}, {"modality": "VIDEO", "tokenCount": 1315},
            {"modality": "AUDIO", "tokenCount": 160},
        ],
        "cacheTokensDetails": [
            {"modality": "AUDIO", "tokenCount": 118}, {"modality": "TEXT", "tokenCount": 31},
            {"modality": "VIDEO", "tokenCount": 973},
        ],
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 200}],
    }).usage  # fmt: skip
    assert usage.buckets == {
        "cache_read_audio": 118, "input_audio": 42, "cache_read": 973 + 31, "input_video": 342, "input": 12 + 10,
        "output_image": 200, "output": 2 + 185,
    }  # fmt: skip
    assert (usage.input_tokens, usage.output_tokens, usage.reasoning_tokens) == (1528, 387, 185)


@pytest.mark.parametrize(
    ("tier", "context"),
    [
        ({"serviceTier": "standard"}, ()),
        ({"serviceTier": "flex"}, (("service_tier", "flex"),)),
        ({"trafficType": "ON_DEMAND"}, ()),
        ({"trafficType": 1}, ()),
        ({"trafficType": "ON_DEMAND_PRIORITY"}, (("service_tier", "priority"),)),
        ({"trafficType": "PROVISIONED_THROUGHPUT"}, (("service_tier", "provisioned_throughput"),)),
    ],
)
def test_the_tier_is_the_one_that_answered(tier: dict[str, Any], context: Any) -> None:
    assert answered({"promptTokenCount": 1, **tier}).context == context


def test_gemini_3_bills_each_query_and_those_before_it_each_prompt() -> None:
    grounded = {"groundingMetadata": {"webSearchQueries": ["", "a", "b", "a"]}}
    plain = answered({"promptTokenCount": 1}, candidates=[{"content": {}}])
    older = answered({"promptTokenCount": 1}, candidates=[grounded])
    newer = answered({"promptTokenCount": 1}, "gemini-3-flash-preview", candidates=[grounded])
    assert [each.usage.buckets for each in (plain, older, newer)] == [
        {"input": 1}, {"input": 1, "groundings": 1}, {"input": 1, "web_searches": 2},
    ]  # fmt: skip


@pytest.mark.parametrize(
    "usage",
    [None, {}, "many", {"promptTokenCount": -1}, {"promptTokenCount": "9"}, {"promptTokenCount": True}, {"x": 1},
     {"promptTokenCount": 5, "candidatesTokenCount": 1 << 60}],
)  # fmt: skip
def test_nonsense_is_no_usage(usage: Any) -> None:
    assert google_answer({"usageMetadata": usage}).usage is None


def test_models_of_the_sdk_are_read_like_json() -> None:
    told = types.GenerateContentResponse.model_validate({
        "usageMetadata": {
            "promptTokenCount": 9, "candidatesTokenCount": 2,
            "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 4}],
        },
        "modelVersion": "gemini-2.5-flash",
    })  # fmt: skip
    answer = google_answer(told)
    assert answer.usage is not None
    assert answer.usage.buckets == {"input_audio": 4, "input": 5, "output": 2}
    assert answer.model == "gemini-2.5-flash"


def test_a_client_that_was_watched_alone_is_let_go_of() -> None:
    client = genai.Client(api_key="none")
    instrument_client(client, Recording())
    behind = weakref.ref(client._api_client)
    del client
    gc.collect()
    assert behind() is None
