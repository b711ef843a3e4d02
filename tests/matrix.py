"""Builds the environments of matrix.txt: `python -m tests.matrix --uv .tools/bin/uv --into .matrix/3.11 [name ...]`."""

from __future__ import annotations

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIST = Path(__file__).with_name("matrix.txt")
TOOLS = ["pytest>=9", "pytest-asyncio>=1.5", "pytest-timeout>=2.4", "hypothesis>=6.140"]


def environments() -> dict[str, list[str]]:
    """Names to requirements."""
    found = {}
    for line in LIST.read_text("utf-8").splitlines():
        text = line.strip()
        if text and not text.startswith("#"):
            name, colon, requirements = text.partition(":")
            if not colon or not requirements.strip():
                raise SystemExit(f"{LIST.name}: {line!r} is not of the form `name: requirements`")
            found[name.strip()] = requirements.split()
    return found


def python_of(directory: Path) -> Path:
    return directory / "bin" / "python"


def build(uv: Path, into: Path, name: str, requirements: list[str]) -> None:
    venv = into / name
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, venv], check=True)
    install = [uv, "pip", "install", "--quiet", "--python", venv, *TOOLS, "-e", str(ROOT), *requirements]
    subprocess.run(install, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uv", type=Path, required=True)
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("names", nargs="*", help="only these environments")
    given = parser.parse_args()
    known = environments()
    names = given.names or list(known)
    for name in names:
        if name not in known:
            raise SystemExit(f"{name!r} is not in {LIST.name}, which has {', '.join(known)}")
    # One waits for the network while the other writes.
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda name: build(given.uv.resolve(), given.into, name, known[name]), names))


if __name__ == "__main__":
    main()
