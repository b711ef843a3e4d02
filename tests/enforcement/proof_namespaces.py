"""Hosts as a network sees them: processes in network namespaces of their own, with a cable to a bridge each.

Root may make them, where the kernel and iproute2 are there. All of it happens in a namespace that `unshare --net` has
made: nothing of it is seen by the machine, and it is gone with its processes.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import subprocess
from functools import cache
from typing import Any

NETWORK = "10.77.0.0/24"
BRIDGE = "10.77.0.1"
DATABASE = 5432
"""The port that the server of the databases listens on."""
TRIES = 10

_CLONE_NEWNET = 0x40000000


@cache
def lacking() -> str:
    """What it takes and is not here; "" where it can be done."""
    for program in ("unshare", "ip"):
        if shutil.which(program) is None:
            return f"no program {program}"
    if os.geteuid() != 0:
        return "not root"
    tried = "ip link add cg0 type bridge && ip link add cg1 type veth peer name cg2"
    done = subprocess.run(["unshare", "--net", "sh", "-c", tried], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else " ".join(done.stderr.split())


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def lay_bridge() -> None:
    """In the namespace of this process, in which the servers are."""
    ip("link", "set", "lo", "up")
    # A fixed address: else it becomes that of the lowest port, and who asked for it before knows the old one.
    ip("link", "add", "costguard0", "address", "02:00:00:00:00:01", "type", "bridge")
    ip("addr", "add", f"{BRIDGE}/24", "dev", "costguard0")
    ip("link", "set", "costguard0", "up")


def leave(line: Any) -> None:
    """Go on in a namespace of its own, with a cable to the bridge that `connect` brings."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    line.send(os.getpid())
    number = line.recv()
    ip("addr", "add", f"10.77.0.{number + 2}/24", "dev", "eth0")
    ip("link", "set", "lo", "up")
    for _ in range(TRIES):
        ip("link", "set", "eth0", "up")
        try:
            socket.create_connection((BRIDGE, DATABASE), timeout=2).close()
            return
        except TimeoutError:
            # Seldom the bridge does not notice that a cable was put in: it is taken out and put in again.
            ip("link", "set", "eth0", "down")
    raise TimeoutError(f"host {number} has no connection to {BRIDGE} after {TRIES} tries")


def connect(line: Any, number: int) -> None:
    """Give the process at the other end of `line` its cable."""
    pid = line.recv()
    ip("link", "add", f"host{number}", "type", "veth", "peer", "name", "eth0", "netns", str(pid))
    ip("link", "set", f"host{number}", "master", "costguard0", "up")
    line.send(number)
