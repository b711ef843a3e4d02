"""The recordings of Bedrock's runtime, through boto3, and through aiobotocore where it is installed."""

from __future__ import annotations

import importlib.util
import json
from typing import Any
from urllib.parse import unquote

import botocore.config
import botocore.retryhandler
import botocore.session
from botocore.exceptions import BotoCoreError, ClientError

from tests.providers.calling import fields_of, watched
from tests.providers.recording import Recording

KINDS = ("sync", "async") if importlib.util.find_spec("aiobotocore") else ("sync",)
_OPERATIONS = {
    "converse": "converse",
    "converse_stream": "converse_stream",
    "invoke_model": "invoke_model",
    "invoke_model_stream": "invoke_model_with_response_stream",
    "count_tokens": "count_tokens",
}
_KEYS = {"region_name": "us-east-1", "aws_access_key_id": "none", "aws_secret_access_key": "none"}


def takes(record: dict[str, Any]) -> bool:
    return record["sdk"]["package"] == "boto3" and record["api"] in _OPERATIONS


def _config(options: str, kind: type[Any]) -> Any:
    retries = {"max_attempts": 2 if "fail" in options else 0, "mode": "legacy"}
    return kind(retries=retries, read_timeout=20, inject_host_prefix=False)


class Clients:
    """Made anew for each address: a client knows no other than its own."""

    def __init__(self) -> None:
        self._session = botocore.session.Session()
        # Retries wait a second and more otherwise.
        botocore.retryhandler.delay_exponential = lambda *_given, **_more: 0.01

    def sync(self, base: str, options: str) -> Any:
        return self._session.create_client(
            "bedrock-runtime", endpoint_url=base, config=_config(options, botocore.config.Config), **_KEYS
        )

    async def close(self) -> None:
        pass


def arguments(record: dict[str, Any]) -> dict[str, Any]:
    """Bytes are base64 in JSON and not in boto3: the documents are left out, their names are of no matter."""
    model = unquote(record["url"].split("/model/")[1].rsplit("/", 1)[0])
    if record["api"].startswith("invoke"):
        return {"modelId": model, "body": json.dumps(record["request_body"])}
    if record["api"] == "count_tokens":
        text = {"messages": [{"role": "user", "content": [{"text": "text"}]}]}
        return {"modelId": model, "input": {"converse": text}}
    body = fields_of(record)
    known = {
        name: body[name] for name in ("inferenceConfig", "serviceTier", "additionalModelRequestFields") if name in body
    }
    return {"modelId": model, "messages": [{"role": "user", "content": [{"text": "text"}]}], **known}


def _read(answer: dict[str, Any]) -> None:
    for name in ("stream", "body"):
        found = answer.get(name)
        if found is None:
            continue
        if hasattr(found, "read"):
            found.read()
        else:
            for _ in found:
                pass


async def _read_async(answer: dict[str, Any]) -> None:
    for name in ("stream", "body"):
        found = answer.get(name)
        if found is None:
            continue
        if hasattr(found, "read"):
            await found.read()
        else:
            async for _ in found:
                pass


async def run(clients: Clients, server: Any, record: dict[str, Any], kind: str, options: str = "") -> Recording:
    """What the policy was told of one exchange."""
    base, given = server.base(record, options), arguments(record)
    name = _OPERATIONS[record["api"]]
    with watched() as recording:
        try:
            if kind == "sync":
                client = clients.sync(base, options)
                _read(getattr(client, name)(**given))
                client.close()
            else:
                import aiobotocore.config
                import aiobotocore.session

                config = _config(options, aiobotocore.config.AioConfig)
                session = aiobotocore.session.get_session()
                async with session.create_client(
                    "bedrock-runtime", endpoint_url=base, config=config, **_KEYS
                ) as client:
                    await _read_async(await getattr(client, name)(**given))
        except (ClientError, BotoCoreError):
            if record["status"] < 400 and not options:
                raise
        except Exception:
            if "cut" not in options:
                raise
    return recording
