"""`python -m benchmarks [middleware] [calls] [streams] [imports] [usage] [telemetry]`: run, print, write results/."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Any

from benchmarks.peers import PEERS, interpreter
from benchmarks.timing import machine, save

BENCHMARKS = ("middleware", "calls", "streams", "imports", "usage", "telemetry")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="*", help=f"which ones of {', '.join(BENCHMARKS)}; all if none is named")
    parser.add_argument("--rounds", type=int, default=40, help="batches of each contender")
    parser.add_argument("--quick", action="store_true", help="5 rounds: does it run, not how fast")
    parser.add_argument("--no-peers", action="store_true", help="costguard alone")
    parser.add_argument("--errors", action="store_true", help="show what the contenders print")
    options = parser.parse_args()
    unknown = sorted(set(options.name) - set(BENCHMARKS))
    if unknown:
        parser.error(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    facts = machine()
    print(f"Python {facts['python']}, {facts['cpus']} CPUs, load {facts['load']}")
    missing = [] if options.no_peers else [peer for peer in PEERS if interpreter(peer) is None]
    if missing:
        print(f"without {', '.join(missing)}: build them with python -m benchmarks.peers --uv .tools/bin/uv")
    for name in options.name or BENCHMARKS:
        print(f"{name} ...", flush=True)
        _run(name, 5 if options.quick else options.rounds, peers=not options.no_peers, errors=options.errors)
    return 0


def _run(name: str, rounds: int, *, peers: bool, errors: bool) -> None:
    module: Any = import_module(f"benchmarks.{name}")
    if name == "middleware":
        # Its peers share this environment, where they are installed.
        result = module.run(rounds=rounds * 2)
        print(module.table(result))
    else:
        result = module.run(rounds=rounds, peers=peers, errors=errors)
        module.report(result)
    print(f"written to benchmarks/results/{save(name, result).name}\n")


if __name__ == "__main__":
    raise SystemExit(main())
