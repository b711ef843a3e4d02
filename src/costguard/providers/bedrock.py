"""The row of Amazon Bedrock's runtime through boto3, and through aiobotocore.

A route's path is the operation and what the model puts out: the model is a parameter.
"""

from __future__ import annotations

from costguard.providers.bedrock_request import CEILING, THINKING
from costguard.providers.bedrock_seams import make_api_call, send
from costguard.providers.rows import Provider, Route, Seam
from costguard.providers.usage_bedrock import converse_answer, invoke_answer, invoke_usage

_DELTAS = ("text", "input", "outputText", "completion", "generation", "content", "partial_json", "thinking")

_INVOKE = "InvokeModel(?:WithResponseStream)?"

BEDROCK = Provider(
    "bedrock",
    package="botocore",
    routes=(
        Route("Converse(?:Stream)?/text", "chat", converse_answer, max_output=(CEILING,), sets={"": CEILING},
              before_answer=(THINKING,), deltas=_DELTAS),
        Route(f"{_INVOKE}/text", "chat", invoke_answer, max_output=(CEILING,), sets={"": CEILING},
              before_answer=(THINKING,), deltas=_DELTAS, guess=invoke_usage),
        Route(f"{_INVOKE}/embeddings", "embeddings", invoke_answer, produces_output=False),
        Route(f"{_INVOKE}/images", "images", invoke_answer),
    ),
    seams=(
        Seam("botocore.client", "BaseClient._make_api_call", make_api_call),
        Seam("botocore.endpoint", "Endpoint._send", send),
        Seam("aiobotocore.client", "AioBaseClient._make_api_call", make_api_call),
        Seam("aiobotocore.endpoint", "AioEndpoint._send", send),
    ),
    clients=("botocore.client.BaseClient",),
)  # fmt: skip
