"""The process of one peer: `python -m benchmarks.peers.worker <peer> calls|streams`, in the peer's environment."""

from __future__ import annotations

import sys
from importlib import import_module

import openai

from benchmarks import workloads
from benchmarks.worker import Patches, Variant, serve


def main(peer: str, workload: str) -> None:
    module = import_module(f"benchmarks.peers.{peer}")
    arguments = workloads.question("openai")
    # The SDK loads its resources late: what is not there yet cannot be put back afterwards.
    import_module("openai.resources.chat.completions.completions")
    import_module("openai.resources.responses.responses")
    if workload == "calls":
        workloads.stub("openai")
    repeat, units = (
        (workloads.repeat, 1) if workload == "calls" else (workloads.repeat_streams, len(workloads.events("openai")))
    )
    patches = Patches(openai)
    watched = module.watch(workloads.client("openai"))
    patches.installed().off()
    plain = workloads.client("openai")
    unit = {"calls": "call", "streams": "chunk"}[workload]
    serve(
        [
            Variant("sdk alone", repeat(workloads.ask("openai", plain), arguments), units=units),
            Variant(
                f"{unit} with {peer}",
                repeat(watched.method, arguments),
                base="sdk alone",
                on=patches.on,
                off=patches.off,
                finish=watched.finish,
                units=units,
            ),
        ],
        module.PACKAGES,
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
