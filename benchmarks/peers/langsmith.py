"""LangSmith: `wrap_openai`; the server computes costs; its batches end in a session that accepts everything."""

from __future__ import annotations

import os
from typing import Any

from benchmarks.peers.watched import Watched

PACKAGES = ("langsmith", "openai")

# What its server would answer.
_LIMITS = {
    "size_limit": 100,
    "size_limit_bytes": 20_971_520,
    "scale_up_qsize_trigger": 1000,
    "scale_up_nthreads_limit": 16,
}


def watch(client: Any) -> Watched:
    os.environ["LANGSMITH_TRACING"] = "true"
    import requests
    from langsmith import Client
    from langsmith.wrappers import wrap_openai

    class Accepting(requests.Session):
        def request(self, *args: Any, **kwargs: Any) -> requests.Response:
            response = requests.Response()
            response.status_code = 202
            response._content = b"{}"
            return response

    tracing = Client(
        api_url="http://127.0.0.1:9",
        api_key="bench",
        session=Accepting(),
        info={"batch_ingest_config": {"use_multipart_endpoint": True, **_LIMITS}},
    )
    wrapped = wrap_openai(client, tracing_extra={"client": tracing})
    return Watched(wrapped.chat.completions.create, tracing.flush)
