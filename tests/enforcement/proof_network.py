"""Two hosts on a network, with clocks 30 s apart and one PostgreSQL: rows of the proof, see `proof_namespaces`.

unshare --net python -m tests.enforcement.proof_network GIVEN...      as `results` runs it, as root
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from tests.enforcement.proof_namespaces import BRIDGE, NETWORK, lacking, lay_bridge
from tests.enforcement.proof_runs import Given, Result, fixed, run
from tests.enforcement.proof_stores import place

ROOT = Path(__file__).parents[2]
NAME = "2 hosts in network namespaces, clocks 30 s apart"
APART = ((0.0,), (30.0,))
STORES = ("postgres", "leases")


def results(store: str, calls: int, ways: Sequence[str] = ("learned", "strict")) -> Iterator[Result]:
    """Where there can be no namespaces here, the row is that of processes of one host, and says so."""
    for holds in ways:
        why = lacking()
        if why:
            given = Given(f"2 hosts, processes only ({why}), clocks 30 s apart", holds, fixed(calls), "processes", 2)
            with tempfile.TemporaryDirectory(prefix="costguard-proof-") as folder:
                yield run(place(store, Path(folder)), replace(given, clocks=APART))
            continue
        done = subprocess.run(
            ["unshare", "--net", sys.executable, "-W", "ignore", "-m", "tests.enforcement.proof_network", store, holds,
             str(calls)],
            capture_output=True, text=True, timeout=300, cwd=ROOT, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        yield Result(**json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    from tests.ledger.postgres import server

    store, holds, calls = sys.argv[1], sys.argv[2], int(sys.argv[3])
    lay_bridge()
    server().listen(BRIDGE, NETWORK)
    with tempfile.TemporaryDirectory(prefix="costguard-proof-") as folder:
        near = place(store, Path(folder))
        name = near.url.partition("@/")[2].partition("?")[0]
        far = replace(near, url=f"postgresql://postgres@{BRIDGE}/{name}?sslmode=disable")
        given = Given(NAME, holds, fixed(calls), "processes", 2, clocks=APART, bridge=BRIDGE)
        print(json.dumps(asdict(run(far, given))))


if __name__ == "__main__":
    main()
