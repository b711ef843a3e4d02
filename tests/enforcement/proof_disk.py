"""Calls on a disk that is full for a while; `python -m tests.enforcement.proof_disk FOLDER`, see `proof_faults`."""

from __future__ import annotations

import errno
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from costguard import Guard, StoreUnavailable
from tests.enforcement.proof_faults import Load, under_load
from tests.enforcement.proof_stores import Place


def main() -> None:
    disk = Path(sys.argv[1])
    filler = disk / "filler"
    full: dict[str, bool] = {}

    def fault(guard: Guard, load: Load) -> None:
        with filler.open("wb", buffering=0) as more:
            try:
                while True:
                    more.write(b"x" * 4096)
            except OSError as error:
                full["disk"] = error.errno == errno.ENOSPC
        load.more(200)
        try:
            guard.flush(1)
        except StoreUnavailable as error:
            full["told"] = "cannot grow; free space on its disk" in str(error) or "not in the ledger" in str(error)
        filler.unlink()

    # What the calls acknowledge is written elsewhere: only the ledger's disk is full.
    with tempfile.TemporaryDirectory(prefix="costguard-disk-") as folder:
        where = Place("sqlite", f"sqlite:///{disk}/costs.db?patience=1", journal=f"{disk}/journal")
        result, _ = under_load(where, "disk full", Path(folder), fault)
    print(json.dumps({"result": asdict(result), **full}))


if __name__ == "__main__":
    main()
