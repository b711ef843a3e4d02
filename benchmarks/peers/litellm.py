"""LiteLLM as a library: `completion` around the same client, with its own cost calculation."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import Any

from benchmarks.peers.watched import Watched

PACKAGES = ("litellm", "openai")


def watch(client: Any) -> Watched:
    # Without it, importing litellm fetches its price list.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm
    from litellm.litellm_core_utils.thread_pool_executor import executor

    def finish() -> None:
        while executor._work_queue.qsize():
            time.sleep(0.002)
        time.sleep(0.01)

    return Watched(partial(litellm.completion, client=client), finish)
