"""voyageai: run by test_matrix.py in an environment of its own, as it brings aiohttp, which changes other SDKs."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest

from costguard.errors import BudgetExceeded, ConfigError
from costguard.pricing.usage import Usage
from costguard.providers.instrument import install, instrument, uninstall
from costguard.providers.voyage import voyage_answer
from tests.providers import exchanges, voyage_driver
from tests.providers.recording import Recording
from tests.providers.wires import WireServer, serving

voyageai: Any = importlib.import_module("voyageai")


@pytest.fixture(scope="module")
def one_wire() -> Iterator[WireServer]:
    yield from serving()


@pytest.fixture
def wire(one_wire: WireServer) -> WireServer:
    one_wire.requests.clear()
    one_wire._count.clear()
    return one_wire


@pytest.fixture
def policy() -> Iterator[Recording]:
    recording = Recording()
    install(recording)
    yield recording
    uninstall(recording)


async def embed(kind: str, url: str, **more: Any) -> Any:
    if kind == "sync":
        return voyageai.Client(api_key="none", base_url=url, max_retries=1).embed(["Paris"], model="voyage-4", **more)
    return await voyageai.AsyncClient(api_key="none", base_url=url, max_retries=1).embed(["Paris"], model="voyage-4")


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_embeddings_are_one_call_without_output(kind: str, wire: WireServer, policy: Recording) -> None:
    answer = await embed(kind, wire.url("plain"))
    assert type(answer).__name__ == "EmbeddingsObject"
    call, outcome = policy.only()
    assert (call.provider, call.model, call.operation) == ("voyage", "voyage-4", "embeddings")
    assert (call.produces_output, outcome.usage, outcome.status) == (False, Usage(input_tokens=100), "ok")


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_an_error_costs_nothing(kind: str, wire: WireServer, policy: Recording) -> None:
    with pytest.raises(voyageai.error.InvalidRequestError):
        await embed(kind, wire.url("refuse"))
    assert (policy.only()[1].status, policy.only()[1].billable) == ("error", False)


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_refusal_comes_at_once(kind: str, wire: WireServer) -> None:
    recording = Recording(refuse=True)
    install(recording)
    try:
        with pytest.raises(BudgetExceeded):
            await embed(kind, wire.url("plain"))
    finally:
        uninstall(recording)
    assert (len(recording.reserved), wire.requests) == (1, [])


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_an_unreachable_provider_costs_nothing(kind: str, policy: Recording) -> None:
    with pytest.raises(voyageai.error.APIConnectionError):
        await embed(kind, "http://127.0.0.1:1")
    assert policy.only()[1].billable is False


def test_one_client_cannot_be_watched_alone() -> None:
    with pytest.raises(ConfigError, match=r"guard\.instrument\(\) watches"):
        instrument(voyageai.Client(api_key="none"), Recording())


def test_images_are_counted_apart() -> None:
    usage = {"text_tokens": 5, "image_pixels": 2_000_000, "total_tokens": 3_576}
    assert voyage_answer({"model": "m", "usage": usage}).usage == Usage(input_tokens=3_576, image_input_tokens=3_571)
    assert voyage_answer({"usage": {"total_tokens": -1}}).usage is None


@pytest.mark.skipif(not exchanges.FOLDER.exists(), reason=f"no recorded exchanges: {exchanges.FOLDER}")
@pytest.mark.parametrize("options", ["", "~ragged", "~cut3"])
async def test_every_exchange_equals_its_ground_truth(options: str) -> None:
    rows, lines = await exchanges.table([voyage_driver], options=options)
    assert [line for line in lines if line.startswith("differing")] == []
    assert sum(row[3] for row in rows) > 0
