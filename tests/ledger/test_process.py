"""Which process this is, told to the children of forks that Python knows nothing of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# A process of its own: a fork in C leaves the locks of other threads locked in the child, and PyDLL keeps Python's own.
FORK = """
import ctypes, os, sys
from costguard.ledger import process
make = getattr(process, sys.argv[1])
fork = os.fork if sys.argv[2] == "python" else ctypes.PyDLL(None).fork
mine = make()
child = fork()
if child == 0:
    os._exit(10 + mine[0] + 2 * make()[0])
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), mine[0])
"""


@pytest.mark.parametrize("make", ["mark", "Pid"])
@pytest.mark.parametrize("fork", ["python", "c"])
def test_a_mark_is_set_in_the_process_that_made_it_and_not_in_its_children(make: str, fork: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORK, make, fork], capture_output=True, text=True, timeout=60, check=False
    )
    # In the child the parent's is cleared, and one of its own is set.
    assert done.stdout.split() == ["12", "1"], done.stderr


LEASES = """
import ctypes, os, sys
from threading import Event, Thread
from costguard.ledger import leases
from costguard.ledger.opening import open_ledger
from tests.ledger.values import entry, hold, limit

on, began, go = limit("$5/day"), Event(), Event()
ledger = leases.LeaseLedger(open_ledger(sys.argv[1]), background=False)
first = hold(on, cents=10)
ledger.reserve(first, first.call.started_ns)
parents = first.leases
ledger.settle(entry(first, 1), first)
if ctypes.PyDLL(None).fork() == 0:
    class Slow(leases.Tenure):
        def __init__(self, *args, **kwargs):
            began.set()
            go.wait(30)
            super().__init__(*args, **kwargs)

    def reserve(one):
        ledger.reserve(one, one.call.started_ns)

    leases.Tenure = Slow
    holds = [hold(on, cents=2), hold(on, cents=2)]
    threads = [Thread(target=reserve, args=(one,)) for one in holds]
    threads[0].start()
    began.wait(30)
    threads[1].start()
    threads[1].join(0.5)
    go.set()
    for thread in threads:
        thread.join(30)
    mine = {slice_id for one in holds for slice_id in one.leases}
    os._exit(10 + (not mine & set(parents)) + 2 * (mine <= set(ledger._holdings.by_id)))
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


def test_no_thread_of_a_child_that_was_forked_behind_pythons_back_runs_on_its_parents_leases(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEASES, f"sqlite:///{tmp_path}/costs.db"],
        capture_output=True, text=True, timeout=60, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    # None of its own calls is on a slice of the parent, and all of their slices are known.
    assert done.stdout.split() == ["13"], done.stderr
