"""Which process this is, told to the children of forks that Python knows nothing of."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

import pytest

from costguard.ledger.process import Mark, Pid, mark


@pytest.mark.parametrize("make", [mark, Pid])
@pytest.mark.parametrize("fork", [os.fork, ctypes.CDLL(None).fork], ids=["python", "c"])
def test_a_mark_is_set_in_the_process_that_made_it_and_not_in_its_children(
    make: Callable[[], Mark], fork: Callable[[], int]
) -> None:
    mine = make()
    assert mine[0] == 1
    child = fork()
    if child == 0:
        os._exit(10 + mine[0] + 2 * make()[0])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 12
    assert mine[0] == 1
