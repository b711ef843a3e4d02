"""The provider's name, as prices go by it, from the host that a client talks to."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from costguard import Guard
from costguard.providers.anthropic import ANTHROPIC
from costguard.providers.openai import OPENAI
from costguard.providers.site import site_of

KEY: dict[str, Any] = {"api_key": "none"}


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://eu.api.openai.com/v1", "openai"),
        ("https://resource.openai.azure.com/openai/v1", "azure"),
        ("https://resource.services.ai.azure.com/models", "azure"),
        ("https://resource.cognitiveservices.azure.com/openai", "azure"),
        ("https://openrouter.ai/api/v1", "openrouter"),
        ("https://api.x.ai/v1", "xai"),
        ("https://us-east-1.api.x.ai/v1", "xai"),
        ("https://api.deepseek.com", "deepseek"),
        ("https://api.deepseek.com/v1", "deepseek"),
        ("https://api.perplexity.ai", "perplexity"),
        ("https://api.together.xyz/v1", "together"),
        ("https://api.together.ai/v1", "together"),
        ("https://api.cerebras.ai/v1", "cerebras"),
        ("https://api.groq.com/openai/v1", "groq"),
        ("https://api.mistral.ai/v1", "mistral"),
        ("https://api.anthropic.com/v1/", "anthropic"),
        ("https://generativelanguage.googleapis.com/v1beta/openai/", "google"),
        ("https://us-central1-aiplatform.googleapis.com/v1/projects/p/locations/l/endpoints/openapi", "vertex"),
        ("https://bedrock-runtime.us-west-2.amazonaws.com/openai/v1", "bedrock"),
        ("https://bedrock-mantle.us-east-1.api.aws/v1", "bedrock"),
        ("https://api.fireworks.ai/inference/v1", "fireworks"),
        ("https://api.deepinfra.com/v1/openai", "deepinfra"),
        ("https://integrate.api.nvidia.com/v1", "nvidia"),
        ("https://models.github.ai/inference", "github"),
        ("https://models.inference.ai.azure.com", "github"),
        ("https://api.sambanova.ai/v1", "sambanova"),
        ("https://api.moonshot.ai/v1", "moonshot"),
        ("https://api.moonshot.cn/v1", "moonshot"),
        ("https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "dashscope"),
        ("https://open.bigmodel.cn/api/paas/v4", "zhipuai"),
        ("https://api.z.ai/api/paas/v4", "zai"),
        ("https://api.novita.ai/openai", "novita"),
        ("https://api.hyperbolic.xyz/v1", "hyperbolic"),
        ("https://inference.baseten.co/v1", "baseten"),
        ("https://example.1.azuredatabricks.net/serving-endpoints", "databricks"),
        ("https://dbc-1.cloud.databricks.com/serving-endpoints", "databricks"),
        ("https://account.snowflakecomputing.com/api/v2/cortex/v1", "snowflake"),
        ("https://api.voyageai.com/v1", "voyage"),
        ("https://api.cloudflare.com/client/v4/accounts/a/ai/v1", "cloudflare"),
        ("https://router.huggingface.co/v1", "huggingface"),
        ("https://router.huggingface.co/nebius/v1", "huggingface_nebius"),
        ("https://router.huggingface.co/together/v1", "huggingface_together"),
        ("https://ollama.com/v1", "ollama-cloud"),
        ("https://gateway.pydantic.dev/proxy/openai", "pydantic-gateway"),
        ("https://api.minimax.io/v1", "minimax"),
        ("https://llm.example.com/v1", "openai"),
        ("http://127.0.0.1:4000", "openai"),
        ("https://api.openai.com.example.org/v1", "openai"),
        ("https://notopenrouter.ai/v1", "openai"),
    ],
)
def test_the_host_tells_the_provider(url: str, name: str) -> None:
    assert site_of(OPENAI, openai.OpenAI(base_url=url, **KEY)).provider == name


@pytest.mark.parametrize(
    ("client", "name"),
    [
        (anthropic.Anthropic(**KEY), "anthropic"),
        (anthropic.Anthropic(base_url="https://openrouter.ai/api", **KEY), "openrouter"),
        (anthropic.Anthropic(base_url="http://127.0.0.1:4000", **KEY), "anthropic"),
        (anthropic.Anthropic(base_url="https://api.deepseek.com/anthropic", **KEY), "deepseek"),
        (anthropic.Anthropic(base_url="https://api.z.ai/api/anthropic", **KEY), "zai"),
        (anthropic.AnthropicBedrock(base_url="https://gateway.example.com", aws_region="us-east-1"), "bedrock"),
        (anthropic.AsyncAnthropicBedrock(aws_region="us-east-1"), "bedrock"),
        (anthropic.AnthropicVertex(region="us-east5", project_id="p"), "vertex"),
        (anthropic.AnthropicFoundry(resource="r", **KEY), "azure"),
    ],
)
def test_the_class_tells_the_provider_where_the_host_does_not(client: Any, name: str) -> None:
    assert site_of(ANTHROPIC, client).provider == name


@pytest.mark.parametrize(
    ("client", "place"),
    [
        (openai.OpenAI(base_url="https://api.openai.com/v1", **KEY), ""),
        (openai.OpenAI(base_url="https://eu.api.openai.com/v1", **KEY), "eu"),
        (openai.OpenAI(base_url="https://eu.api.example.com/v1", **KEY), ""),
        (anthropic.Anthropic(**KEY), ""),
        (anthropic.AnthropicVertex(region="global", project_id="p"), ""),
        (anthropic.AnthropicVertex(region="us-east5", project_id="p"), "us-east5"),
        (anthropic.AnthropicVertex(region="eu", project_id="p"), "eu"),
    ],
)
def test_the_host_tells_where_a_call_is_processed(client: Any, place: str) -> None:
    assert site_of(ANTHROPIC if client.__module__.startswith("anthropic") else OPENAI, client).place == place


@pytest.mark.parametrize(
    ("host", "prices", "cost"),
    [
        ("api.openai.com", None, "0.25"),
        ("eu.api.openai.com", None, "0.275"),
        ("eu.api.openai.com", {"openai/gpt-5.4": {"input": "1", "output": "1"}}, "0.1"),
    ],
)
def test_a_call_that_stays_in_a_region_costs_what_it_costs_there(host: str, prices: Any, cost: str) -> None:
    usage = {"prompt_tokens": 100_000, "completion_tokens": 0, "total_tokens": 100_000}
    answer = {"id": "c", "object": "chat.completion", "model": "gpt-5.4", "choices": [], "usage": usage}
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, json=answer))
    with Guard("memory://", prices=prices) as guard, httpx2.Client(transport=transport) as http:
        guard.instrument()
        client = openai.OpenAI(base_url=f"https://{host}/v1", http_client=http, **KEY)
        client.chat.completions.create(model="gpt-5.4", messages=[])
        guard.uninstrument()
        (entry,) = guard.entries()
        assert entry.cost == Decimal(cost)


def test_a_host_that_refuses_stream_options_is_not_sent_any() -> None:
    asked = {
        url: site_of(OPENAI, openai.OpenAI(base_url=url, **KEY)).usage
        for url in ("https://api.openai.com/v1", "https://api.mistral.ai/v1", "https://llm.example.com/v1")
    }
    assert list(asked.values()) == [True, False, False]
