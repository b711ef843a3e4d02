"""The connections of the `openai` package."""

from __future__ import annotations

from costguard.providers.hosts import HOSTS
from costguard.providers.rows import Provider, Route, Seam
from costguard.providers.sockets import close, receive, receive_async, send, send_async
from costguard.providers.usage_responses import responses_answer

_REALTIME = "openai.resources.realtime.realtime"
_BETA = "openai.resources.beta.realtime.realtime"
_RESPONSES = "openai.resources.responses.responses"

_CONNECTIONS = (
    (_REALTIME, "RealtimeConnection"), (_BETA, "RealtimeConnection"), (_RESPONSES, "ResponsesConnection"),
)  # fmt: skip

OPENAI_SOCKETS = Provider(
    "openai",
    package="openai",
    routes=(
        Route("responses", "responses", responses_answer, max_output=("max_output_tokens",), deltas=("delta",)),
        Route("realtime", "realtime", responses_answer,
              max_output=("max_output_tokens", "max_response_output_tokens"), deltas=("delta",)),
    ),
    hosts=HOSTS,
    seams=(
        # Of both kinds of connections.
        Seam("openai._websocket_connection", "WebSocketConnectionBase.close", close),
        Seam("openai._websocket_connection", "AsyncWebSocketConnectionBase.close", close),
        *(
        seam
        for module, name in _CONNECTIONS
        for seam in (
            Seam(module, f"{name}.send", send),
            Seam(module, f"{name}.recv_bytes", receive),
            Seam(module, f"Async{name}.send", send_async),
            Seam(module, f"Async{name}.recv_bytes", receive_async),
        )
        ),
    ),
)  # fmt: skip
