"""Which paths cost money, and who is behind a host."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import anthropic
import openai
import pytest

from costguard.providers.anthropic import ANTHROPIC
from costguard.providers.openai import OPENAI
from costguard.providers.rows import MAX_PATHS
from costguard.providers.site import site_of


@pytest.mark.parametrize(
    ("method", "url", "operation"),
    [
        ("post", "/chat/completions", "chat"),
        ("post", "/deployments/gpt-4o/chat/completions", "chat"),
        ("POST", "https://x.openai.azure.com/openai/deployments/a/chat/completions?api-version=2024-10-21", "chat"),
        ("get", "/chat/completions", None),
        ("post", "/chat/completions/chatcmpl-1", None),
        ("post", "/completions", "completions"),
        ("post", "/responses", "responses"),
        ("get", "/responses/resp_1?include=x", "responses"),
        ("get", "/responses/resp_1/input_items", None),
        ("delete", "/responses/resp_1", None),
        ("post", "/responses/input_tokens", None),
        ("post", "/embeddings", "embeddings"),
        ("post", "/images/edits", "images"),
        ("post", "/audio/speech", "speech"),
        ("post", "/audio/translations", "transcriptions"),
        ("post", "/moderations", None),
        ("post", "/batches", "batches"),
        ("get", "/batches", None),
        ("get", "/batches/batch_1", "batches"),
        ("post", "/files", None),
        ("get", "/files/file-1", None),
        ("get", "/files/file-1/content", "batches"),
        ("get", "/models", None),
        ("post", "/threads/thread_1/runs", "runs"),
        ("post", "/threads/runs", "runs"),
        ("post", "/videos", "videos"),
    ],
)
def test_paths_of_openai(method: str, url: str, operation: str | None) -> None:
    route = OPENAI.route(method, url)
    assert (route and route.operation) == operation


@pytest.mark.parametrize(
    ("method", "url", "operation"),
    [
        ("post", "/v1/messages", "chat"),
        ("post", "/v1/messages?beta=true", "chat"),
        ("post", "/v1/messages/count_tokens?beta=true", None),
        ("post", "/v1/messages/batches", "batches"),
        ("get", "/v1/messages/batches/x", None),
        ("get", "/v1/messages/batches/x/results", "batches"),
        ("post", "/v1/complete", "completions"),
        ("get", "/v1/models", None),
    ],
)
def test_paths_of_anthropic(method: str, url: str, operation: str | None) -> None:
    route = ANTHROPIC.route(method, url)
    assert (route and route.operation) == operation


def test_endless_ids_do_not_fill_the_memory() -> None:
    for number in range(3 * MAX_PATHS):
        assert OPENAI.route("get", f"/responses/resp_{number}")
    assert len(OPENAI._known) <= MAX_PATHS


@pytest.mark.parametrize(
    ("url", "provider", "usage"),
    [
        ("https://api.openai.com/v1", "openai", True),
        ("https://openrouter.ai/api/v1", "openrouter", False),
        ("https://api.x.ai/v1", "xai", False),
        ("https://api.deepseek.com", "deepseek", True),
        ("https://api.openai.com.evil.example/v1", "openai", False),
        ("http://localhost:8000/v1", "openai", False),
        ("https://me.openai.azure.com/openai/v1", "azure", True),
    ],
)
def test_the_host_says_who_is_asked_and_whether_usage_may_be(url: str, provider: str, usage: bool) -> None:
    client = openai.OpenAI(api_key="none", base_url=url)
    site = site_of(OPENAI, client)
    assert (site.provider, site.usage) == (provider, usage)
    client.base_url = "https://api.groq.com/openai/v1"
    assert site_of(OPENAI, client).provider == "groq"


@pytest.mark.parametrize(
    ("version", "usage"), [("2024-06-01", False), ("2024-09-01-preview", True), ("2024-10-21", True)]
)
def test_azure_is_asked_for_usage_from_the_version_that_takes_it(version: str, usage: bool) -> None:
    for cls in (openai.AzureOpenAI, openai.AsyncAzureOpenAI):
        client = cls(api_key="none", azure_endpoint="https://me.openai.azure.com", api_version=version)
        site = site_of(OPENAI, client)
        assert (site.provider, site.usage) == ("azure", usage)


def test_the_client_says_who_is_behind_anthropic_s_package() -> None:
    assert site_of(ANTHROPIC, anthropic.Anthropic(api_key="none")).provider == "anthropic"
    names: list[tuple[Any, str]] = [("AnthropicBedrock", "bedrock"), ("AsyncAnthropicVertex", "vertex")]
    for name, provider in names:
        cls = type(name, (SimpleNamespace,), {})
        assert ANTHROPIC.at(cls, "") == provider
