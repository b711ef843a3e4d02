"""Calls that wait to be counted: all are, once, and none waits for whoever never asks."""

from __future__ import annotations

import os
import time
from threading import Event, Thread

from costguard.telemetry import later
from costguard.telemetry.later import Later


def until(done: object) -> None:
    deadline = time.monotonic() + 10
    while not done() and time.monotonic() < deadline:  # type: ignore[operator]
        Event().wait(0.01)
    assert done()  # type: ignore[operator]


def test_all_are_counted_once_whoever_asks() -> None:
    counted: list[int] = []
    waiting = Later(counted.append)
    for number in range(500):
        waiting.put(number)
    assert counted == []
    both = [Thread(target=waiting.all) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join(10)
    assert sorted(counted) == list(range(500))
    assert len(waiting) == 0


def test_a_thread_counts_those_that_nobody_asks_for() -> None:
    counted: list[int] = []
    waiting = Later(counted.append)
    for number in range(later.MANY):
        waiting.put(number)
    until(lambda: len(counted) == later.MANY)
    assert len(waiting) == 0


def test_a_thread_that_does_not_keep_up_does_not_fill_the_memory() -> None:
    go_on, counted = Event(), []

    def count(number: int) -> None:
        if number == 0:
            go_on.wait(10)
        counted.append(number)

    waiting = Later(count)
    for number in range(later.MOST + 500):
        waiting.put(number)
    assert len(waiting) <= later.MOST
    go_on.set()
    waiting.all()
    until(lambda: len(counted) == later.MOST + 500)


def test_where_none_will_ever_ask_they_are_forgotten() -> None:
    counted: list[int] = []
    waiting = Later(counted.append, lambda: True)
    for number in range(later.MANY):
        waiting.put(number)
    assert (len(waiting), counted) == (0, [])


def test_one_that_cannot_be_counted_keeps_no_other_from_it() -> None:
    counted: list[float] = []
    waiting = Later(lambda number: counted.append(1 / number))
    waiting.put(0)
    waiting.put(2)
    waiting.all()
    assert counted == [0.5]


def test_a_child_process_does_not_count_its_parents() -> None:
    waiting: Later[int] = Later(int)
    waiting.put(1)
    child = os.fork()
    if child == 0:
        os._exit(len(waiting))
    _, status = os.waitpid(child, 0)
    assert (os.waitstatus_to_exitcode(status), len(waiting)) == (0, 1)
