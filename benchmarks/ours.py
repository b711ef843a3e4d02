"""The process of one variant of costguard: `python -m benchmarks.ours calls|streams <variant>`.

One guard to a process, as in an app: several in turn would undo each other's inline caches.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import workloads
from benchmarks.settings import CALLS, STREAMS, Setting
from benchmarks.timing import OURS
from benchmarks.worker import Variant, serve
from costguard import Guard, bind_tags

Run = Callable[[int], object]


def call(setting: Setting, loop: asyncio.AbstractEventLoop) -> Run:
    """Plain calls over the stub."""
    workloads.stub(setting.sdk)
    name = workloads.CLIENTS[setting.sdk]
    client = getattr(import_module(setting.sdk), f"Async{name}" if setting.asynchronous else name)(api_key="bench")
    method, question = workloads.ask(setting.sdk, client), workloads.question(setting.sdk)
    return (
        workloads.repeat_async(loop, method, question) if setting.asynchronous else workloads.repeat(method, question)
    )


def stream(setting: Setting, loop: asyncio.AbstractEventLoop) -> Run:
    """Streams over the in-memory transport."""
    client = workloads.client(setting.sdk, asynchronous=setting.asynchronous)
    question = workloads.question(setting.sdk)
    if setting.as_bytes:
        return workloads.repeat_bytes(client.chat.completions if setting.sdk == "openai" else client.messages, question)
    method = workloads.ask(setting.sdk, client)
    if setting.asynchronous:
        return workloads.repeat_streams_async(loop, method, question)
    return workloads.repeat_streams(method, question)


def main(workload: str, name: str) -> None:
    setting = (CALLS if workload == "calls" else STREAMS)[name]
    loop = asyncio.new_event_loop()
    bind_tags(user="alice", feature="chat", environment="production")
    run = call(setting, loop) if workload == "calls" else stream(setting, loop)
    units = 1 if workload == "calls" else len(workloads.events(setting.sdk))
    with TemporaryDirectory(prefix="costguard-bench-") as folder:
        store = "memory://" if setting.store == "memory" else f"sqlite:///{Path(folder) / 'costs.db'}"
        with Guard(store, budgets=setting.budgets, holds=setting.holds, engine=setting.engine) as guard:
            alone = Variant("sdk alone", run, units=units)
            guarded = Variant(name, run, base=alone.name, on=guard.instrument, off=guard.uninstrument, units=units)
            serve([alone, guarded], OURS)
    loop.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
