"""Real OpenAI and Anthropic clients whose requests end at the local server.

OpenAI's keep `https://api.openai.com` as their base URL, as in production, where some behaviour of the tools and of
costguard (`stream_options.include_usage`) depends on it; only the connection goes elsewhere.
"""

from __future__ import annotations

import ssl
from typing import Any

import httpx2

from tests.interop.server import Server

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Loopback has none; to load the certificates takes longer than a call."""


class Redirect(httpx2.HTTPTransport):
    def __init__(self, port: int) -> None:
        super().__init__(verify=NO_TLS)
        self._port = port

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        request.url = request.url.copy_with(scheme="http", host="127.0.0.1", port=self._port)
        return super().handle_request(request)


class AsyncRedirect(httpx2.AsyncHTTPTransport):
    def __init__(self, port: int) -> None:
        super().__init__(verify=NO_TLS)
        self._port = port

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.url = request.url.copy_with(scheme="http", host="127.0.0.1", port=self._port)
        return await super().handle_async_request(request)


def http_clients(server: Server) -> dict[str, Any]:
    """`http_client` and `http_async_client`, as LangChain calls them."""
    return {
        "http_client": httpx2.Client(transport=Redirect(server.port)),
        "http_async_client": httpx2.AsyncClient(transport=AsyncRedirect(server.port)),
    }


def openai_client(server: Server) -> Any:
    from openai import OpenAI

    return OpenAI(api_key="sk-local", http_client=http_clients(server)["http_client"])


def async_openai_client(server: Server) -> Any:
    from openai import AsyncOpenAI

    return AsyncOpenAI(api_key="sk-local", http_client=http_clients(server)["http_async_client"])


def anthropic_client(server: Server) -> Any:
    from anthropic import Anthropic

    return Anthropic(api_key="sk-local", base_url=server.url, http_client=httpx2.Client(verify=NO_TLS))


def async_anthropic_client(server: Server) -> Any:
    from anthropic import AsyncAnthropic

    return AsyncAnthropic(api_key="sk-local", base_url=server.url, http_client=httpx2.AsyncClient(verify=NO_TLS))
