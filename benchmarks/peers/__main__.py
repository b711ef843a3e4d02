"""Build the environments: `python -m benchmarks.peers --uv .tools/bin/uv [--into .bench] [peer ...]`."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.peers import ENVIRONMENTS, PEERS, REQUIREMENTS


def build(uv: str, peer: str, into: Path) -> None:
    """One environment from `requirements/<peer>.txt`; done already if the file has not changed since."""
    wanted = (REQUIREMENTS / f"{peer}.txt").read_text()
    done = into / peer / "built.txt"
    if done.exists() and done.read_text() == wanted:
        return
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(into / peer)], check=True)
    install = [uv, "pip", "install", "--quiet", "--python", str(into / peer), "-r", str(REQUIREMENTS / f"{peer}.txt")]
    subprocess.run(install, check=True)
    done.write_text(wanted)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers")
    parser.add_argument("peer", nargs="*", help=f"which ones of {', '.join(PEERS)}; all if none is named")
    parser.add_argument("--uv", default="uv")
    parser.add_argument("--into", type=Path, default=ENVIRONMENTS)
    options = parser.parse_args()
    failed = 0
    unknown = sorted(set(options.peer) - set(PEERS))
    if unknown:
        parser.error(f"no peer is called {', '.join(unknown)}; there are {', '.join(PEERS)}")
    for peer in options.peer or PEERS:
        try:
            build(options.uv, peer, options.into)
        except subprocess.CalledProcessError as error:
            failed += 1
            print(f"{peer}: the environment could not be built ({error}); the benchmarks go without it")
            continue
        listing = [options.uv, "pip", "freeze", "--python", str(options.into / peer)]
        shown = subprocess.run(listing, check=True, capture_output=True, text=True).stdout.split()
        first = [line.partition("==")[0] for line in (REQUIREMENTS / f"{peer}.txt").read_text().split()]
        print(f"{peer}: {', '.join(line for line in shown if line.partition('==')[0] in {*first, 'openai'})}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
