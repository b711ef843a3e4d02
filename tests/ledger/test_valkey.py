"""What only a second system can do to a ledger: lose everything, go away, fall behind, or be cut off half-way."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costguard.budgets import Limit
from costguard.errors import ConfigError, MissingExtra, StoreUnavailable
from costguard.events import Crossing, Entry, Hold
from costguard.ledger.audit import audit
from costguard.ledger.base import Ledger
from costguard.ledger.opening import open_ledger
from costguard.ledger.stack import build
from costguard.ledger.valkey import ValkeyLedger
from costguard.tags import Tags
from tests.ledger.test_concurrency import assert_books_are_exact, go
from tests.ledger.valkey import Server, opened, server
from tests.ledger.values import CENT, NOW, SECOND, entry, hold, limit
from tests.ledger.worker import spend

ROOT = Path(__file__).parents[2]
CENTS = [limit(), limit("$5/month")]


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/costs.db"


@pytest.fixture
def url() -> str:
    return server().url()


@pytest.fixture
def ledger(store: str, url: str) -> Iterator[ValkeyLedger]:
    ledger = opened(store, url)
    yield ledger
    ledger.close()


@pytest.fixture
def own() -> Iterator[Server]:
    """A server that a test may stop."""
    own = Server()
    yield own
    own.kill()


def scripts() -> int:
    """That the server has run."""
    stats = server().client().info("commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("eval", "evalsha"))


def start(store: str, valkey: str, what: str, count: int = 1) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.ledger.valkey", store, valkey, what, str(count)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def until(true: object, seconds: float = 20) -> None:
    """Poll until a callable says True."""
    assert callable(true)
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)


# -- round trips and numbers


def test_a_hold_is_one_round_trip_and_a_settlement_two(ledger: ValkeyLedger) -> None:
    limits = [limit(), limit("$5/month"), limit("$2/week per user,feature")]
    other = hold(*limits, cents=10)
    ledger.reserve(other, NOW)
    ledger.settle(entry(other, 1), other)
    one = hold(*limits, cents=10)
    before = scripts()
    assert ledger.reserve(one, NOW) is None
    assert scripts() - before == 1
    assert ledger.settle(entry(one, 7), one) == ()
    assert scripts() - before == 3
    assert ledger.balances(limits) == [(8 * CENT, 0)] * 3


def test_a_batch_of_settlements_is_two_round_trips(ledger: ValkeyLedger) -> None:
    limits = [limit("$100/day per user"), limit("$500/month")]
    held = [hold(*limits, cents=10) for _ in range(301)]
    for one in held:
        assert ledger.reserve(one, NOW) is None
    last = held.pop()
    assert ledger.settle(entry(last, 7), last) == ()
    before = scripts()
    told = ledger.settle_all([(entry(one, 7), one) for one in held])
    assert scripts() - before == 2
    assert told == [()] * 300
    assert ledger.balances(limits) == [(2107 * CENT, 0)] * 2


@settings(max_examples=60, deadline=None)
@given(
    most=st.one_of(st.integers(1, 10**18), st.integers(2**53 - 9, 2**53 + 9), st.integers(1, 10**10)),
    spent=st.fractions(0, 1),
    held=st.fractions(0, 1),
)
def test_a_limit_is_kept_to_the_nano_dollar_whatever_its_size(most: int, spent: object, held: object) -> None:
    # Hypothesis has `random` say the same for each example: so the time has to tell the calls apart.
    ledger, at = exact(), NOW + next(_numbers) * SECOND
    limits = limit(f"${most // 10**9}.{most % 10**9:09d}/day per user", Tags(user=f"user{at}"), at)
    first, second, third = (hold(limits, at_ns=at) for _ in range(3))
    first.amount = int(most * spent)  # type: ignore[operator]
    second.amount = int((most - first.amount) * held)  # type: ignore[operator]
    third.amount = most - first.amount - second.amount + 1
    assert ledger.reserve(first, NOW) is None
    assert ledger.settle(entry(first, nanos=first.amount), first) is not None
    assert ledger.reserve(second, NOW) is None
    refusal = ledger.reserve(third, NOW)
    assert refusal is not None
    assert (refusal.spent, refusal.held) == (first.amount, second.amount)
    third.amount -= 1
    assert ledger.reserve(third, NOW) is None
    assert ledger.balances([limits]) == [(first.amount, second.amount + third.amount)]


def exact() -> ValkeyLedger:
    if not _exact:
        _folders.append(tempfile.TemporaryDirectory())
        _exact.append(opened(f"sqlite:///{_folders[0].name}/costs.db", server().url()))
    return _exact[0]


_exact: list[ValkeyLedger] = []
_folders: list[Any] = []
_numbers = count()


def test_ledgers_of_another_name_on_one_server_share_nothing(tmp_path: Path) -> None:
    first = opened(f"sqlite:///{tmp_path}/a.db", server().url())
    second = opened(f"sqlite:///{tmp_path}/b.db", server().url())
    assert first.reserve(hold(cents=100), NOW) is None
    assert second.balances([limit()]) == [(0, 0)]
    first.close()
    second.close()


def test_every_key_but_the_index_and_running_holds_expires(ledger: ValkeyLedger, url: str) -> None:
    assert spend(ledger)
    dead = hold(limit(), limit("$5/month"), cents=5, seconds=1)
    ledger.reserve(dead, NOW)
    ledger.expire(NOW + 2 * SECOND)
    client, name = server().client(), url.partition("name=")[2]
    keys = sorted(client.scan_iter(f"costguard:{{{name}}}:*"))
    lasting = {key.rpartition("}:")[2] for key in keys if client.pttl(key) < 0}
    assert lasting == {"epoch"}
    assert len(keys) == 4


# -- many at once


def test_four_processes_of_25_calls_spend_exactly_the_budget(store: str, url: str) -> None:
    opened(store, url).close()
    assert sum(map(int, go([start(store, url, "spend", 25) for _ in range(4)]))) == 10
    assert_books_are_exact(opened(store, url), 100 * CENT)


def test_four_processes_of_25_threads_spend_exactly_the_budget(store: str, url: str) -> None:
    opened(store, url).close()
    assert sum(map(int, go([start(store, url, "threads", 25) for _ in range(4)]))) == 10
    assert_books_are_exact(opened(store, url), 100 * CENT)


def test_the_hold_of_a_killed_process_is_charged_by_another(store: str, url: str) -> None:
    worker = start(store, url, "die")
    out, _ = worker.communicate(timeout=30)
    assert worker.returncode == -9
    ledger = opened(store, url)
    assert ledger.balances([limit()]) == [(0, 30 * CENT)]
    refusal = ledger.reserve(hold(limit(), cents=80), NOW + 61 * SECOND)
    assert refusal is not None
    assert (refusal.spent, refusal.held) == (30 * CENT, 0)
    (lost,) = ledger.entries({"user": "alice"})
    assert (lost.call_id, lost.status) == (out.strip(), "lost")
    assert_books_are_exact(ledger, 30 * CENT)


def test_fifty_threads_that_find_nothing_read_the_ledger_and_agree(store: str, url: str) -> None:
    with_sql = open_ledger(store)
    assert spend(with_sql, 40)
    ledger = opened(store, url)
    with ThreadPoolExecutor(50) as pool:
        assert sum(pool.map(lambda _: spend(ledger), range(50))) == 6
    assert_books_are_exact(ledger, 100 * CENT)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_children_share_the_budget(ledger: ValkeyLedger) -> None:
    assert spend(ledger)
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            try:
                os._exit(sum(spend(ledger) for _ in range(10)))
            except BaseException as error:
                os.write(2, repr(error).encode())
                os._exit(99)
        children.append(child)
    assert sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children) == 9
    assert_books_are_exact(ledger, 100 * CENT)


# -- everything lost


def test_a_flushed_valkey_is_rebuilt_from_the_ledger(ledger: ValkeyLedger) -> None:
    assert spend(ledger, 60)
    server().command("FLUSHALL")
    assert ledger.balances(CENTS) == [(60 * CENT, 0)] * 2
    assert ledger.reserve(hold(cents=41), NOW) is not None
    assert ledger.reserve(hold(cents=40), NOW) is None


def test_a_call_that_ran_when_all_was_lost_is_counted_once(ledger: ValkeyLedger) -> None:
    running = hold(*CENTS, cents=30)
    ledger.reserve(running, NOW)
    server().command("FLUSHALL")
    assert spend(ledger, 20)
    assert len(ledger.settle(entry(running, 30), running) or ()) == 1
    assert ledger.settle(entry(running, 30), running) is None
    assert_books_are_exact(ledger, 50 * CENT)


def test_the_truth_of_a_call_that_was_charged_before_all_was_lost_replaces_the_charge(ledger: ValkeyLedger) -> None:
    for known in (True, False):
        slow = hold(*CENTS, cents=30, seconds=1)
        ledger.reserve(slow, NOW)
        assert len(ledger.expire(NOW + 5 * SECOND)) == 1
        server().command("FLUSHALL")
        before = ledger.balances(CENTS)
        ledger.settle(entry(slow, 12), slow if known else None)
        assert ledger.balances(CENTS) == [(spent - 18 * CENT, held) for spent, held in before]


def test_flushing_under_load_loses_no_cost_and_counts_none_twice(ledger: ValkeyLedger) -> None:
    free, stop = [limit("$1000/day per user"), limit("$5000/month")], Event()
    settled: list[Hold] = []

    def work() -> None:
        while not stop.is_set():
            one = hold(*free, cents=2)
            assert ledger.reserve(one, NOW) is None
            assert ledger.settle(entry(one, 1), one) is not None
            settled.append(one)

    with ThreadPoolExecutor(12) as pool:
        workers = [pool.submit(work) for _ in range(12)]
        for _ in range(8):
            calls = len(settled)
            until(lambda calls=calls: len(settled) > calls + 20)
            server().command("FLUSHALL")
        stop.set()
        for worker in workers:
            worker.result(timeout=60)
    assert ledger.spent({}) == len(settled) * CENT
    assert ledger.balances(free) == [(len(settled) * CENT, 0)] * 2


def test_after_a_loss_no_more_is_overspent_than_what_ran(ledger: ValkeyLedger) -> None:
    running = [hold(*CENTS, cents=10) for _ in range(4)]
    for one in running:
        assert ledger.reserve(one, NOW) is None
    server().command("FLUSHALL")
    allowed = 0
    while spend(ledger):
        allowed += 1
    for one in running:
        assert ledger.settle(entry(one, 10), one) is not None
    assert allowed == 10
    assert_books_are_exact(ledger, 140 * CENT)


def test_a_settlement_that_ends_while_the_ledger_is_read_is_in_what_is_read_at_last(store: str, url: str) -> None:
    stray = hold(*CENTS, cents=10)

    class Reading(Cut):
        def balances(self, limits: Sequence[Limit]) -> list[tuple[int, int]]:
            found = self._inner.balances(limits)
            if strays:
                assert settling.settle(entry(strays.pop(), 10), stray) == ()
            return found

    strays: list[Hold] = []
    settling = opened(store, url)
    reading = ValkeyLedger(Reading(open_ledger(store), after=False), url)  # type: ignore[arg-type]
    assert spend(settling, 20)
    reading.rebuild()
    strays.append(stray)
    assert reading.balances(CENTS) == [(30 * CENT, 0)] * 2
    assert_books_are_exact(reading, 30 * CENT)
    reading.close()
    settling.close()


def test_a_balance_that_was_evicted_is_not_freed_of_what_it_no_longer_holds(ledger: ValkeyLedger, url: str) -> None:
    one = hold(*CENTS, cents=30)
    ledger.reserve(one, NOW)
    name = url.partition("name=")[2]
    for each in CENTS:
        server().command("DEL", f"costguard:{{{name}}}:b:{each.key}")
    assert spend(ledger, 20)
    assert ledger.settle(entry(one, 12), one) is not None
    assert_books_are_exact(ledger, 32 * CENT)


# -- cut off half-way


class CutOff(BaseException):
    """A crash, as far as what is on either side of it can tell."""


class Cut:
    """The inner ledger of a process that dies when it settles, before the transaction or after it."""

    def __init__(self, inner: Ledger, *, after: bool) -> None:
        self._inner = inner
        self._after = after

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def settle(self, entry: Entry, hold: Hold | None) -> tuple[Crossing, ...] | None:
        if self._after:
            self._inner.settle(entry, hold)
        raise CutOff


@pytest.mark.parametrize("held", [True, False], ids=["held", "never held"])
@pytest.mark.parametrize("after", [True, False], ids=["after the ledger", "before the ledger"])
def test_a_crash_in_the_middle_of_a_settlement_is_mended_by_whoever_looks(
    store: str, url: str, after: bool, held: bool
) -> None:
    dying = ValkeyLedger(Cut(open_ledger(store), after=after), url)  # type: ignore[arg-type]
    one = hold(*CENTS, cents=30, seconds=60)
    if held:
        assert dying.reserve(one, NOW) is None
    with pytest.raises(CutOff):
        dying.settle(entry(one, 12), one)
    ledger = opened(store, url)
    # What was made for a settlement without a hold is by the clock.
    lost = ledger.expire(max(NOW, time.time_ns()) + 3600 * SECOND)
    assert len(lost) == (held and not after)
    spent = 12 if after else 30 if held else 0
    assert_books_are_exact(ledger, spent * CENT)
    assert (ledger.settle(entry(one, 12), one) is None) is after
    assert_books_are_exact(ledger, 12 * CENT)


@pytest.mark.parametrize("known", [True, False], ids=["hold known", "hold not known"])
def test_a_settlement_cut_off_after_the_ledger_is_finished_by_the_next_try(store: str, url: str, known: bool) -> None:
    dying = ValkeyLedger(Cut(open_ledger(store), after=True), url)  # type: ignore[arg-type]
    one = hold(*CENTS, cents=30)
    dying.reserve(one, NOW)
    with pytest.raises(CutOff):
        dying.settle(entry(one, 12), one)
    ledger = opened(store, url)
    assert ledger.balances(CENTS) == [(0, 30 * CENT)] * 2
    # What was recorded counts, whatever it is now said to be.
    assert ledger.settle(entry(one, 25), one if known else None) is None
    assert_books_are_exact(ledger, 12 * CENT)


def test_a_hold_that_is_released_although_its_cost_was_recorded_is_free_and_the_cost_counts(
    store: str, url: str
) -> None:
    dying = ValkeyLedger(Cut(open_ledger(store), after=True), url)  # type: ignore[arg-type]
    one = hold(*CENTS, cents=30)
    dying.reserve(one, NOW)
    with pytest.raises(CutOff):
        dying.settle(entry(one, 12), one)
    ledger = opened(store, url)
    assert ledger.release(one)
    assert_books_are_exact(ledger, 12 * CENT)


def test_a_reading_of_the_ledger_waits_for_no_settlement_that_hangs(store: str, url: str) -> None:
    dying = ValkeyLedger(Cut(open_ledger(store), after=True), url)  # type: ignore[arg-type]
    one = hold(*CENTS, cents=30)
    dying.reserve(one, NOW)
    with pytest.raises(CutOff):
        dying.settle(entry(one, 12), one)
    ledger = opened(store, url)
    ledger.rebuild()
    assert ledger.balances(CENTS) == [(12 * CENT, 30 * CENT)] * 2
    ledger.expire(NOW + 3600 * SECOND)
    assert_books_are_exact(ledger, 12 * CENT)


# -- the server goes away


def test_a_server_killed_under_load_and_started_empty_is_rebuilt(store: str, own: Server) -> None:
    ledger = opened(store, own.url(patience="1"))
    free, stop = [limit("$1000/day per user"), limit("$5000/month")], Event()
    settled: list[Hold] = []
    failed: list[StoreUnavailable] = []

    def work() -> None:
        while not stop.is_set():
            one = hold(*free, cents=2)
            try:
                if ledger.reserve(one, NOW) is None:
                    while ledger_settles(one) is None and not stop.is_set():
                        pass
            except StoreUnavailable as error:
                failed.append(error)

    def ledger_settles(one: Hold) -> bool | None:
        try:
            ledger.settle(entry(one, 1), one)
        except StoreUnavailable as error:
            failed.append(error)
            return None
        settled.append(one)
        return True

    workers = [Thread(target=work) for _ in range(6)]
    for worker in workers:
        worker.start()
    for _ in range(2):
        count = len(settled)
        until(lambda count=count: len(settled) > count + 20)
        own.kill()
        until(lambda: len(failed) > 0)
        own.start()
        failed.clear()
    count = len(settled)
    until(lambda: len(settled) > count + 20)
    stop.set()
    for worker in workers:
        worker.join(timeout=60)
        assert not worker.is_alive()
    spent = ledger.spent({})
    assert spent >= len(settled) * CENT
    # A hold of a call that was stopped between its two verbs is charged when it expires.
    ledger.expire(NOW + 3600 * SECOND)
    ledger.expire(max(NOW, time.time_ns()) + 3600 * SECOND)
    assert ledger.balances(free) == [(ledger.spent({}), 0)] * 2
    ledger.close()


def test_a_server_that_comes_back_with_its_data_still_has_the_holds(store: str, tmp_path: Path) -> None:
    own = Server(appendonly="yes")
    ledger = opened(store, own.url())
    one = hold(*CENTS, cents=30)
    assert ledger.reserve(one, NOW) is None
    own.stop()
    with pytest.raises(StoreUnavailable):
        ledger.balances(CENTS)
    own.start()
    assert ledger.balances(CENTS) == [(0, 30 * CENT)] * 2
    assert ledger.settle(entry(one, 12), one) == ()
    assert_books_are_exact(ledger, 12 * CENT)
    ledger.close()
    own.kill()


def test_a_settlement_whose_second_half_finds_no_server_is_counted_when_it_is_back(store: str) -> None:
    class Stopping(Cut):
        def settle(self, entry: Entry, hold: Hold | None) -> tuple[Crossing, ...] | None:
            told = self._inner.settle(entry, hold)
            if hold is one:
                own.stop()
            return told

    own = Server(appendonly="yes")
    ledger = ValkeyLedger(Stopping(open_ledger(store), after=True), own.url())  # type: ignore[arg-type]
    one = hold(*CENTS, cents=30)
    assert ledger.reserve(one, NOW) is None
    assert ledger.settle(entry(one, 12), one) == ()
    with pytest.raises(StoreUnavailable):
        ledger.balances(CENTS)
    own.start()
    assert ledger.balances(CENTS) == [(0, 30 * CENT)] * 2
    # The next settlement brings it along.
    assert spend(ledger, 20)
    assert_books_are_exact(ledger, 32 * CENT)
    ledger.close()
    own.kill()


def test_a_replica_that_takes_over_without_the_last_writes_is_mended(store: str, own: Server) -> None:
    own.command("CONFIG", "SET", "repl-diskless-sync-delay", "0")
    name = f"failover-{os.getpid()}"
    ledger = opened(store, own.url(name=name))
    both, settled_there, held_there = (hold(*CENTS, cents=10, seconds=60) for _ in range(3))
    assert spend(ledger, 20)
    assert ledger.reserve(both, NOW) is None
    assert ledger.reserve(settled_there, NOW) is None
    replica = Server()
    replica.command("REPLICAOF", "127.0.0.1", str(own.port))
    until(lambda: replica.client().info("replication").get("master_link_status") == "up")
    until(lambda: replica.client().dbsize() == own.client().dbsize())
    replica.command("REPLICAOF", "NO", "ONE")
    # From here on the replica hears of nothing.
    assert ledger.settle(entry(settled_there, 5), settled_there) == ()
    assert ledger.reserve(held_there, NOW) is None
    own.kill()
    ledger.close()
    taken_over = opened(store, replica.url(name=name))
    assert taken_over.settle(entry(both, 7), both) == ()
    assert taken_over.settle(entry(held_there, 9), held_there) == ()
    assert taken_over.expire(NOW + 61 * SECOND) == []
    assert_books_are_exact(taken_over, 41 * CENT)
    taken_over.close()
    replica.kill()


def test_a_server_that_does_not_answer_holds_up_no_call(store: str, own: Server) -> None:
    ledger = opened(store, own.url(patience="3"))
    assert spend(ledger)
    pid = int(own.client().info("server")["process_id"])
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable, match="does not answer; check host, port and firewall, or raise patience"):
            ledger.reserve(hold(*CENTS, cents=10), NOW)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert spend(ledger)
    ledger.close()


# -- upkeep


def test_an_audit_tells_of_the_holds_and_a_repair_has_all_read_anew(ledger: ValkeyLedger, url: str) -> None:
    assert spend(ledger, 20)
    ledger.reserve(hold(*CENTS, cents=30, seconds=60), NOW)
    found = audit(ledger, now_ns=NOW + 61 * SECOND)
    assert found.ok
    assert (found.balances, found.holds) == (2, 1)
    assert [(one.amount, one.tags["user"], len(one.keys)) for one in found.expired] == [(30 * CENT, "alice", 2)]
    key = f"costguard:{{{url.partition('name=')[2]}}}:b:{limit().key}"
    server().command("HINCRBY", key, "s", "7")
    assert ledger.balances([limit()]) == [(20 * CENT + 7, 30 * CENT)]
    assert audit(ledger, repair=True, now_ns=NOW).ok
    assert ledger.balances([limit()]) == [(20 * CENT, 30 * CENT)]


def test_to_delete_the_epoch_has_all_read_anew_and_keeps_the_holds(ledger: ValkeyLedger, url: str) -> None:
    one = hold(*CENTS, cents=30)
    ledger.reserve(one, NOW)
    assert spend(ledger.inner, 20)  # type: ignore[arg-type]
    assert ledger.balances(CENTS) == [(0, 30 * CENT)] * 2
    server().command("DEL", f"costguard:{{{url.partition('name=')[2]}}}:epoch")
    assert ledger.balances(CENTS) == [(20 * CENT, 30 * CENT)] * 2
    assert ledger.settle(entry(one, 12), one) is not None
    assert_books_are_exact(ledger, 32 * CENT)


def test_a_limit_that_is_below_nothing_takes_no_hold(ledger: ValkeyLedger) -> None:
    rolling = limit().over(150 * CENT)
    refusal = ledger.reserve(hold(rolling, cents=0), NOW)
    assert refusal is not None
    assert refusal.limit is rolling
    assert ledger.reached([rolling]) is not None


def test_leases_and_a_journal_go_over_it(store: str, url: str, tmp_path: Path) -> None:
    ledger = build(store, journal=tmp_path / "journal", balances=url)
    ledger.open()
    now = time.time_ns()
    limits = [limit("$1/day per user", at_ns=now), limit("$5/month", at_ns=now)]

    def call(_: int) -> bool:
        one = hold(*limits, cents=10, at_ns=now)
        if ledger.reserve(one, now) is not None:
            return False
        assert ledger.settle(entry(one, 10), one) is not None
        return True

    with ThreadPoolExecutor(10) as pool:
        assert sum(pool.map(call, range(40))) == 10
    assert ledger.spent({}) == 100 * CENT
    ledger.close()
    plain = opened(store, url)
    assert plain.balances(limits) == [(100 * CENT, 0)] * 2
    plain.close()


# -- wrong settings


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("memcached://host", "memcached://... are of no kind"),
        ("host:6379", "'host:6379' are of no kind"),
        ("valkey://host/costs", "the database 'costs', which is a number"),
        ("valkey://u:pa/ss@host/0", "percent-encoded"),
        ("valkey://u:pa#ss@host/0", "percent-encoded"),
        ("valkey://host?patience=0", "patience=0; give seconds above zero"),
        ("valkey://host?pool_size=many", "pool_size=many; give a whole number"),
        ("valkey://host?cluster=yes", "cluster=yes; use on or off"),
        ("valkey://host?name=a{b", "name=a{b; use letters"),
        ("valkey://host?db=1", "unknown option 'db'"),
        ("valkey://host:port/0", "cannot be read as a URL"),
        ("valkey://u:pa[ss@host/0", "cannot be read as a URL"),
        ("u:pa#ss@host:6379", "balances ... are of no kind"),
    ],
)
def test_a_url_that_it_cannot_mean_is_refused_with_the_way_out(store: str, url: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        opened(store, url)
    assert words in str(caught.value)
    assert "pa/ss" not in str(caught.value)
    assert "pa#ss" not in str(caught.value)
    assert "pa[ss" not in str(caught.value)


def test_a_server_that_is_not_there_is_named_without_the_password(store: str) -> None:
    with pytest.raises(StoreUnavailable) as caught:
        opened(store, "valkey://app:secret@127.0.0.1:1/0")
    assert "valkey://127.0.0.1:1/0 cannot be reached; start it, or check the URL" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_wrong_password_is_named_as_that() -> None:
    own = Server()
    own.command("CONFIG", "SET", "requirepass", "right")
    inner = open_ledger("memory://")
    try:
        with pytest.raises(StoreUnavailable, match="refuses this user or password") as caught:
            ValkeyLedger(inner, own.url(":wrong")).open()
        assert "wrong" not in str(caught.value).replace("WRONGPASS", "")
        with pytest.raises(StoreUnavailable, match="wants a password; give one in the URL"):
            ValkeyLedger(inner, own.url()).open()
        ledger = ValkeyLedger(inner, own.url(":right"))
        ledger.open()
        assert "right" not in ledger.url
        ledger.close()
    finally:
        own.kill()


def test_without_redis_py_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, store: str, url: str) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(MissingExtra, match=r"pip install 'llm-costguard\[valkey\]'"):
        opened(store, url)


def test_a_server_that_evicts_keys_is_warned_of(store: str, caplog: pytest.LogCaptureFixture) -> None:
    own = Server(**{"maxmemory-policy": "allkeys-lru"})
    with caplog.at_level(logging.WARNING, "costguard"):
        opened(store, own.url()).close()
    assert "its maxmemory-policy is allkeys-lru" in caplog.text
    own.kill()


def test_a_full_server_refuses_holds_and_still_lets_calls_end(store: str, own: Server) -> None:
    ledger = opened(store, own.url())
    one = hold(*CENTS, cents=30)
    assert ledger.reserve(one, NOW) is None
    own.command("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(StoreUnavailable, match="is full; raise its maxmemory"):
        ledger.reserve(hold(*CENTS, cents=10), NOW)
    assert ledger.release(one)
    ledger.close()


@pytest.mark.parametrize("cluster", ["on", "off"])
def test_every_verb_runs_on_a_cluster(store: str, cluster: str) -> None:
    own = Server(**{"cluster-enabled": "yes"})
    own.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
    until(lambda: "cluster_state:ok" in own.command("CLUSTER", "INFO"))
    ledger = opened(store, own.url(cluster=cluster))
    assert spend(ledger, 20)
    one, lost = hold(*CENTS, cents=30), hold(*CENTS, cents=10, seconds=1)
    assert ledger.reserve(one, NOW) is None
    assert ledger.reserve(lost, NOW) is None
    assert ledger.extend([one.call.id], NOW + 900 * SECOND) == {one.call.id}
    assert len(ledger.expire(NOW + 2 * SECOND)) == 1
    assert ledger.release(one)
    assert not ledger.release(one)
    ledger.settle_all([(entry(lost, 5), None)])
    assert_books_are_exact(ledger, 25 * CENT)
    ledger.close()
    own.kill()
