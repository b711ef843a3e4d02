"""What only a server can do to a ledger: go away, be full, be slow, refuse, forget an answer, keep months apart."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread

import psycopg
import pytest

from costguard.errors import ConfigError, MissingExtra, StoreUnavailable
from costguard.ledger.base import Ledger
from costguard.ledger.opening import open_ledger
from costguard.tags import Tags
from tests.ledger.postgres import server
from tests.ledger.proxy import Proxy
from tests.ledger.rows import drawing, lease
from tests.ledger.test_concurrency import assert_books_are_exact, go, start
from tests.ledger.values import CENT, DAY, NOW, SECOND, entry, hold, limit
from tests.ledger.worker import spend

ROOT = Path(__file__).parents[2]
MONTH = 31 * DAY
TODAY = time.time_ns()
"""The months that a ledger makes ahead are those of the clock."""


@pytest.fixture
def url() -> str:
    return server().database()


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    ledger = open_ledger(url)
    yield ledger
    ledger.close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    proxy = Proxy(server().data / ".s.PGSQL.5432")
    yield proxy
    proxy.close()


@pytest.fixture
def far(url: str, proxy: Proxy) -> Iterator[Ledger]:
    """A ledger behind the proxy, that has made some calls already."""
    name = database_of(url)
    far = open_ledger(f"postgresql+psycopg://postgres@127.0.0.1:{proxy.port}/{name}?sslmode=disable&patience=5")
    for _ in range(5):
        assert spend(far, 0)
    proxy.trips()
    yield far
    far.close()


def partitions(url: str) -> dict[str, int]:
    """The entries in each."""
    with server().connect(url) as connection:
        rows = connection.execute("SELECT tableoid::regclass::text, count(*) FROM costguard_entries GROUP BY 1")
        return dict(rows.fetchall())


def month_of(at_ns: int) -> str:
    """The name of its partition."""
    return datetime.fromtimestamp(at_ns // SECOND, UTC).strftime("costguard_entries_%Y_%m")


def database_of(url: str) -> str:
    return url.partition("@/")[2].partition("?")[0]


def test_a_hold_is_taken_and_settled_in_one_round_trip_each(far: Ledger, proxy: Proxy) -> None:
    one = hold(limit(), limit("$5/month"), limit("$2/week per user,feature"), cents=10)
    assert far.reserve(one, NOW) is None
    assert proxy.trips() == 1
    assert far.settle(entry(one, 7), one) == ()
    assert proxy.trips() == 1
    assert far.balances(one.limits) == [(7 * CENT, 0)] * 3
    assert proxy.trips() == 1


def test_limits_in_any_unit_are_held_and_settled_in_one_round_trip_each(far: Ledger, proxy: Proxy) -> None:
    limits = (limit(), limit("5000 tokens/day per user"), limit("50 calls/day per user"))
    for cents in (0, 3):
        one = hold(*limits, cents=cents)
        one.tokens = 300
        assert far.reserve(one, NOW) is None
        assert proxy.trips() == 1
        assert far.balances(limits)[1:] == [(110 * (cents > 0), 300), (cents > 0, 1)]
        proxy.trips()
        # The balance of a unit that was never spent on is there from the hold on.
        assert far.settle(entry(one, cents), one) == ()
        assert proxy.trips() == 1
    assert far.balances(limits) == [(3 * CENT, 0), (220, 0), (2, 0)]


def test_a_payer_never_seen_costs_no_further_round_trip(far: Ledger, proxy: Proxy) -> None:
    bob = Tags(user="bob")
    far.settle(entry(hold(tags=bob), 1), None)
    proxy.trips()
    one = hold(limit(tags=bob), limit("$3/week per user", bob), tags=bob)
    assert far.reserve(one, NOW) is None
    assert proxy.trips() == 1


def test_a_call_without_budgets_is_recorded_in_one_round_trip(far: Ledger, proxy: Proxy) -> None:
    assert far.settle(entry(hold(), 3), None) == ()
    assert proxy.trips() == 1
    assert far.spent({}) == 3 * CENT


def test_hundreds_of_calls_held_out_of_leases_are_settled_in_seven_round_trips(far: Ledger, proxy: Proxy) -> None:
    taken = [lease(limit("$90/day per user"), 3000 * CENT), lease(limit("$90/month"), 3000 * CENT)]
    for row in taken:
        assert far.reserve(row, NOW) is None
    calls = [drawing(*taken, cents=5) for _ in range(500)]
    proxy.trips()
    assert far.settle_all([(entry(one, 5, response_id='a"\\,b', reason="NULL"), one) for one in calls]) == [()] * 500
    assert proxy.trips() == 7
    assert far.balances([row.limits[0] for row in taken]) == [(2500 * CENT, 500 * CENT)] * 2
    (read,) = far.entries({}, limit=1)
    assert (read.response_id, read.reason) == ('a"\\,b', "NULL")


@pytest.mark.parametrize("step", range(5), ids=["begin", "hold", "amount", "balance", "commit"])
def test_a_part_of_a_lease_is_not_given_back_twice_when_the_answer_was_lost(
    far: Ledger, proxy: Proxy, step: int
) -> None:
    taken = lease(limit("$90/month"), 50 * CENT)
    assert far.reserve(taken, NOW) is None
    proxy.spare = step
    proxy.lose_next.set()
    with pytest.raises(StoreUnavailable):
        far.shrink(taken, 5 * CENT)
    # The server may still be at it when the client has been told that the connection is gone.
    deadline = time.monotonic() + 10
    expected = 45 if step == 4 else 50
    while far.balances(taken.limits) != [(0, expected * CENT)]:
        assert time.monotonic() < deadline
    assert far.release(taken)
    assert far.balances(taken.limits) == [(0, 0)]


def test_a_lot_whose_answer_was_lost_is_settled_once(far: Ledger, proxy: Proxy) -> None:
    calls = [hold(cents=1) for _ in range(10)]
    lot = [(entry(one, 1), one) for one in calls]
    proxy.lose_next.set()
    assert len(far.settle_all(lot)) == 10
    assert far.settle_all(lot) == [None] * 10
    assert far.balances([limit()]) == [(10 * CENT, 0)]


def test_a_hold_whose_answer_was_lost_is_taken_once(far: Ledger, proxy: Proxy) -> None:
    one = hold(cents=60)
    proxy.lose_next.set()
    assert far.reserve(one, NOW) is None
    assert far.balances([limit()]) == [(0, 60 * CENT)]
    assert not proxy.lose_next.is_set()


def test_an_entry_whose_answer_was_lost_is_recorded_once(far: Ledger, proxy: Proxy) -> None:
    one = hold(cents=60)
    assert far.reserve(one, NOW) is None
    proxy.lose_next.set()
    far.settle(entry(one, 40), one)
    assert far.balances([limit()]) == [(40 * CENT, 0)]
    assert far.spent({}) == 40 * CENT


def test_connections_that_an_administrator_ends_are_replaced(ledger: Ledger) -> None:
    assert spend(ledger)
    with server().connect() as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'costguard'"
        )
    assert spend(ledger)
    assert_books_are_exact(ledger, 20 * CENT)


def test_a_server_stopped_and_started_under_load_loses_nothing_that_was_confirmed(ledger: Ledger) -> None:
    free = limit("$1000/ever")
    begun, stop = Event(), Event()
    failures: list[StoreUnavailable] = []

    def work(_: int) -> int:
        done = 0
        while not stop.is_set():
            one = hold(free, cents=1)
            try:
                assert ledger.reserve(one, NOW) is None
                settled = ledger.settle(entry(one, 1), one)
            except StoreUnavailable as error:
                failures.append(error)
                stop.wait(0.02)
            else:
                # None: it was settled by a first try whose answer was lost.
                assert settled in ((), None)
                done += 1
                begun.set()
        return done

    with ThreadPoolExecutor(4) as pool:
        counts = [pool.submit(work, number) for number in range(4)]
        assert begun.wait(30)
        server().stop()
        with pytest.raises(StoreUnavailable, match="cannot be reached; start the server, or check host and port"):
            ledger.balances([free])
        server().start()
        begun.clear()
        assert begun.wait(30)
        stop.set()
        done = sum(count.result(timeout=30) for count in counts)
    assert failures
    # What failed at settling is held until it expires, or was settled without our hearing of it.
    ledger.expire(NOW + MONTH)
    entries = ledger.entries({}, limit=100_000)
    assert len({one.call_id for one in entries}) == len(entries)
    assert ledger.balances([free]) == [(ledger.spent({}), 0)]
    assert sum(one.status == "ok" for one in entries) >= done
    assert len(entries) <= done + len(failures)


def test_all_connections_in_use_is_told_after_our_patience(url: str) -> None:
    ledger = open_ledger(f"{url}&pool_size=1&patience=0.3")
    assert spend(ledger)
    told: list[str] = []
    both = Event()

    def call() -> None:
        # One waits for the lock, and the others for its connection, or with it when it has given up.
        while not both.is_set():
            with pytest.raises(StoreUnavailable) as raised:
                spend(ledger)
            told.append(str(raised.value))
            if len({"all 1 connections" in one for one in told}) == 2:
                both.set()

    with server().connect(url) as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE costguard_balances")
        callers = [Thread(target=call) for _ in range(4)]
        for caller in callers:
            caller.start()
        assert both.wait(60)
        for caller in callers:
            caller.join(30)
        other.execute("ROLLBACK")
    waited, *_, refused = sorted(told, key=lambda text: "all 1 connections" in text)
    assert "has been locked by another session for too long" in waited
    assert f"{ledger.url}: all 1 connections of this process have been in use for 0.3 s; raise pool_size" in refused
    assert spend(ledger)
    ledger.close()


def test_a_table_locked_by_another_session_is_told_after_our_patience(url: str) -> None:
    ledger = open_ledger(f"{url}&patience=0.1")
    with server().connect(url) as other:
        other.execute("BEGIN")
        other.execute("LOCK TABLE costguard_holds")
        with pytest.raises(StoreUnavailable, match="has been locked by another session for too long; see pg_stat"):
            spend(ledger)
    assert spend(ledger)
    ledger.close()


def test_many_who_share_budgets_and_let_holds_expire_never_wait_for_each_other_in_a_circle(url: str) -> None:
    ledger = open_ledger(f"{url}&pool_size=16")
    rules = ("$0.40/day per user", "$0.60/month", "$0.50/week per user,feature", "$0.30/ever")
    limits = [limit(rule) for rule in rules]

    def work(number: int) -> None:
        for turn in range(15):
            some = [one for place, one in enumerate(limits) if (number + turn) % 4 != place]
            if turn % 2:
                some.reverse()
            now = NOW + turn * SECOND
            one = hold(*some, cents=3, at_ns=now, seconds=turn % 3)
            if ledger.reserve(one, now + (turn % 4) * SECOND) is None:
                if turn % 5 == 0:
                    ledger.release(one)
                elif turn % 5 < 4:
                    ledger.settle(entry(one, 0.2), one)
            if turn % 7 == 0:
                ledger.expire(now)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))
    ledger.expire(NOW + MONTH)
    assert all(held == 0 for _, held in ledger.balances(limits))
    assert all(spent <= one.most for one, (spent, _) in zip(limits, ledger.balances(limits), strict=True))
    with server().connect() as connection:
        name = database_of(url)
        row = connection.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = %s", (name,)).fetchone()
    assert row == (0,)
    ledger.close()


def test_processes_that_open_a_new_database_at_once_all_find_it_usable() -> None:
    url = server().database("template1")
    assert go([start(url, "spend") for _ in range(4)]) == ["1"] * 4
    assert sum(partitions(url).values()) == 4


def test_entries_lie_in_the_partition_of_their_month(ledger: Ledger, url: str) -> None:
    later = TODAY + 2 * MONTH
    for at in (TODAY, later, TODAY - 100 * MONTH):
        one = hold(cents=1, at_ns=at)
        assert ledger.reserve(one, at) is None
        assert ledger.settle(entry(one, 1), one) == ()
    # Too old for a month of its own: it is kept all the same.
    assert partitions(url) == {"costguard_entries_default": 1, month_of(TODAY): 1, month_of(later): 1}
    assert [one.at_ns // 1000 for one in ledger.entries({})] == [
        later // 1000, TODAY // 1000, (TODAY - 100 * MONTH) // 1000,
    ]  # fmt: skip


def test_the_month_of_a_call_is_made_when_it_comes(ledger: Ledger, url: str) -> None:
    far_away = TODAY + 400 * DAY
    one = hold(cents=1, at_ns=far_away)
    assert ledger.settle(entry(one, 1), one) == ()
    assert partitions(url) == {month_of(far_away): 1}


def test_a_month_made_late_takes_its_entries_from_the_default_partition(url: str) -> None:
    with server().connect(url) as connection:
        made = "SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r' AND relname ~ '_\\d{4}_\\d\\d$'"
        for (name,) in connection.execute(made).fetchall():
            connection.execute(f"DROP TABLE {name}".encode())
        connection.execute("REVOKE CREATE ON SCHEMA public FROM public")
        tables = ("entries", "holds", "balances", "outbox", "tag_sets", "models", "prices", "version")
        for table in (*tables, "tag_values", "days", "hours", "spreads"):
            connection.execute(f"GRANT ALL ON costguard_{table} TO locked".encode())
        connection.execute("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO locked")
    # This user may make no tables: its calls go on.
    guest = open_ledger(url.replace("//postgres@", "//locked:right@"))
    one = hold(cents=10, at_ns=TODAY)
    assert guest.reserve(one, TODAY) is None
    assert guest.settle(entry(one, 10), one) == ()
    guest.close()
    assert partitions(url) == {"costguard_entries_default": 1}
    owner = open_ledger(url)
    two = hold(cents=10, at_ns=TODAY)
    owner.reserve(two, TODAY)
    assert owner.settle(entry(two, 10), two) == ()
    assert partitions(url) == {month_of(TODAY): 2}
    assert owner.settle(entry(one, 99), one) is None
    assert owner.spent({}) == 20 * CENT
    owner.close()


def test_an_id_is_recorded_once_whatever_time_it_comes_with(ledger: Ledger, url: str) -> None:
    one = hold(cents=10)
    for at in (NOW, NOW + MONTH, NOW - 90 * DAY):
        again = entry(one, 10)
        again.at_ns = at
        ledger.settle(again, None)
    assert ledger.spent({}) == 10 * CENT
    assert sum(partitions(url).values()) == 1


def test_old_months_are_dropped_as_a_whole(ledger: Ledger, url: str) -> None:
    later = TODAY + 2 * MONTH
    for at in (TODAY - 300 * DAY, TODAY, later):
        one = hold(cents=1, at_ns=at)
        ledger.settle(entry(one, 1), one)
    assert len(partitions(url)) == 3
    with server().connect(url) as connection:
        table = "SELECT to_regclass(%s)::oid"
        before = connection.execute(table, (month_of(TODAY),)).fetchone()
        assert ledger.retain(later) == 2
        # The current month is made anew at once.
        assert connection.execute(table, (month_of(TODAY),)).fetchone() not in (before, (None,))
    assert partitions(url) == {month_of(later): 1}
    assert spend(ledger)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("//postgres@", "//locked:wrong-secret@"), r"locked@/costguard_\d+\?host=.* refuses this user or password"),
        (("//postgres@", "//locked@"), "refuses this user or password; check both"),
        (("/costguard_", "/nowhere_"), r"nowhere_\d+.* has no such database; create it, for example with createdb"),
        (("//postgres@", "//nobody@"), "knows no such user; create it, or give another"),
        (("?host=", "?host=/nowhere&x="), "unknown option 'x'"),
        (("?host=/", "?host=/nowhere/"), "cannot be reached; start the server, or check host and port"),
    ],
)
def test_a_wrong_address_is_told_with_the_way_out(url: str, change: tuple[str, str], message: str) -> None:
    with pytest.raises((StoreUnavailable, ConfigError), match=message) as raised:
        open_ledger(url.replace(*change))
    assert "secret" not in str(raised.value)


def test_an_unknown_host_is_told_with_the_way_out() -> None:
    with pytest.raises(StoreUnavailable, match=r"//me@no\.such\.invalid/db is at a host that has no address"):
        open_ledger("postgresql://me:secret@no.such.invalid/db")


def test_a_port_where_nothing_listens_is_told_with_the_way_out() -> None:
    with pytest.raises(StoreUnavailable, match=r"//me@127\.0\.0\.1:1/db cannot be reached; start the server"):
        open_ledger("postgresql://me:secret@127.0.0.1:1/db")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://u:secret@h/db?pool_size=0", "pool_size=0; give a whole number, one or more"),
        ("postgresql://u:secret@h/db?patience=long", "patience=long; give seconds"),
        ("postgresql://u:secret@h/db?synchronous_commit=maybe", "synchronous_commit=maybe; use on, off, local"),
        ("postgresql://u:secret@h/db?prepare=never", "prepare=never; use on or off"),
        ("postgresql://u:secret@h/db?timeout=1", "unknown option 'timeout'"),
        ("postgresql://u:secret%zz@h/db", "a part that libpq cannot read"),
        ("postgresql://u:sec#ret@h/db", "percent-encode those of the password as %23, %2F and %3F"),
        ("postgresql://u:sec/ret@h/db", "percent-encode those of the password as %23, %2F and %3F"),
        ("postgresql://u:sec?ret@h/db", "percent-encode those of the password as %23, %2F and %3F"),
        ("postgresql://u:sec@ret@h/db", "percent-encode those of the password as %40"),
        ("postgresql://u:sec[ret@h/db", r"such as \[ and \] of the password as %5B and %5D"),
    ],
)
def test_a_url_that_means_nothing_is_told_without_its_password(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        open_ledger(url)
    assert "sec" not in str(raised.value).replace("seconds", "")


def test_the_url_is_shown_without_the_password(url: str) -> None:
    ledger = open_ledger(url.replace("//postgres@", "//postgres:secret@"))
    assert "secret" not in ledger.url
    assert ledger.url.startswith("postgresql://postgres@/costguard_")
    ledger.close()


def test_a_ledger_of_a_newer_costguard_is_refused(url: str) -> None:
    server().execute("UPDATE costguard_version SET version_num = '9999'", url)
    with pytest.raises(ConfigError, match=r"has schema 9999.*upgrade costguard"):
        open_ledger(url)


def test_a_user_who_may_make_no_tables_is_told(url: str) -> None:
    fresh = server().database("template1")
    server().execute("REVOKE CREATE ON SCHEMA public FROM public", fresh)
    with pytest.raises(StoreUnavailable, match="does not allow this user to do that; grant the rights, or"):
        open_ledger(fresh.replace("//postgres@", "//locked:right@"))


def test_tables_dropped_by_hand_are_told(ledger: Ledger, url: str) -> None:
    server().execute("DROP TABLE costguard_holds CASCADE", url)
    with pytest.raises(StoreUnavailable, match="lacks a"):
        ledger.reserve(hold(), NOW)


def test_a_read_only_server_is_told_with_the_way_out(url: str) -> None:
    name = database_of(url)
    server().execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(StoreUnavailable, match="is read-only, such as a standby; give the primary"):
        spend(open_ledger(url))


def test_refusals_leave_no_errors_in_the_servers_log(ledger: Ledger) -> None:
    log = server().data / "log"
    before = len(log.read_text())
    assert spend(ledger, 95)
    assert not spend(ledger, 10)
    assert ledger.reserve(hold(limit(), limit("$5/month"), cents=20), NOW) is not None
    assert "costguard" not in log.read_text()[before:]


def test_without_prepared_statements_it_works_behind_a_pooler(url: str) -> None:
    ledger = open_ledger(f"{url}&prepare=off&synchronous_commit=off")
    assert all(spend(ledger, 1) for _ in range(10))
    with server().connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)
    ledger.close()


def test_a_call_loads_neither_sqlalchemy_nor_alembic_once_the_tables_exist(url: str) -> None:
    script = (
        "import sys; from tests.ledger.worker import *; ledger = open_ledger(sys.argv[1]); assert spend(ledger); "
        "print([name for name in ('sqlalchemy', 'sqlmodel', 'pydantic', 'alembic') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", script, url], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_without_psycopg_the_extra_is_named(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['psycopg'] = None; from costguard.ledger.opening import open_ledger\n"
        "try: open_ledger('postgresql://h/db')\n"
        "except ImportError as error: print(type(error).__name__, error)"
    )
    out = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.startswith(MissingExtra.__name__)
    assert "pip install 'llm-costguard[postgres]'" in out.stdout


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="this system does not list a process's sockets")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_closes_the_sockets_of_its_parent_without_a_word_to_the_server(url: str) -> None:
    before = sockets()
    ledger = open_ledger(url)
    assert spend(ledger)
    ledger.spent({})
    theirs = sockets() - before
    assert len(theirs) == 2
    child = os.fork()
    if child == 0:
        try:
            good = spend(ledger) and ledger.spent({}) == 20 * CENT
            ledger.close()
            os._exit(0 if good and not sockets() & theirs else 1)
        except BaseException as error:
            os.write(2, repr(error).encode())
            os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert spend(ledger)
    assert_books_are_exact(ledger, 30 * CENT)
    assert sockets() - before == theirs
    ledger.close()


def sockets() -> set[str]:
    """Those of this process."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found.add(os.readlink(f"/proc/self/fd/{number}"))
    return {name for name in found if name.startswith("socket:")}


def test_ids_that_are_no_times_are_kept_and_recorded_once(ledger: Ledger, url: str) -> None:
    one = hold(cents=10)
    assert ledger.reserve(one, NOW) is None
    polled = entry(one, 4)
    polled.call_id = "f0000000-0000-5000-8000-000000000001"
    assert ledger.settle(polled, one) == ()
    assert ledger.settle(polled, one) is None
    assert partitions(url) == {"costguard_entries_default": 1}
    assert ledger.balances([limit()]) == [(4 * CENT, 0)]


def test_a_forgotten_hold_charged_while_its_owner_settles_is_counted_once(ledger: Ledger) -> None:
    for _ in range(20):
        one = hold(cents=2, seconds=1)
        assert ledger.reserve(one, NOW) is None
        with ThreadPoolExecutor(2) as pool:
            pool.submit(ledger.expire, NOW + 5 * SECOND)
            pool.submit(ledger.settle, entry(one, 1), one)
    ledger.expire(NOW + 5 * SECOND)
    assert ledger.balances([limit()]) == [(20 * CENT, 0)]
    assert [one.status for one in ledger.entries({})] == ["ok"] * 20


def test_the_first_id_of_a_month_is_in_that_month(ledger: Ledger, url: str) -> None:
    today = datetime.fromtimestamp(TODAY // SECOND, UTC)
    year, month = (today.year, today.month + 1) if today.month < 12 else (today.year + 1, 1)
    first = int(datetime(year, month, 1, tzinfo=UTC).timestamp()) * SECOND
    for at in (first - 1_000_000, first):
        assert ledger.settle(entry(hold(cents=1, at_ns=at), 1), None) == ()
    assert partitions(url) == {month_of(TODAY): 1, month_of(first): 1}


def test_the_tables_can_live_in_a_schema_of_the_app(url: str) -> None:
    server().execute("CREATE SCHEMA billing", url)
    ledger = open_ledger(f"{url}&options=-csearch_path%3Dbilling")
    assert spend(ledger)
    assert ledger.retain(NOW) == 0
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM billing.costguard_entries").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM public.costguard_entries").fetchone() == (0,)
    ledger.close()
