"""What our connections to PostgreSQL put up with: nothing waits for ever, and nobody waits for ever for us."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from costguard.errors import StoreUnavailable
from costguard.ledger.base import Ledger
from costguard.ledger.driver import Execute
from costguard.ledger.opening import open_ledger
from costguard.ledger.postgres import PostgresDriver
from costguard.ledger.postgres_url import read_address
from tests.ledger.postgres import server
from tests.ledger.values import CENT, NOW, hold, limit

TIMEOUTS = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")


@pytest.fixture
def url() -> str:
    return server().database()


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    ledger = open_ledger(f"{url}&patience=1")
    yield ledger
    ledger.close()


def settings(driver: PostgresDriver) -> dict[str, str]:
    return {
        name: driver.read(lambda execute, name=name: execute(f"SHOW {name}", ()).fetchone()[0]) for name in TIMEOUTS
    }


def test_a_call_waits_for_a_lock_as_long_as_its_patience_and_a_stopped_process_loses_its_own(url: str) -> None:
    driver = PostgresDriver(read_address(f"{url}&patience=2"))
    assert settings(driver) == dict(zip(TIMEOUTS, ("2s", "7s", "1s"), strict=True))
    driver.close()


def test_what_a_stopped_process_has_locked_is_free_before_others_lose_their_patience(url: str) -> None:
    open_ledger(url).close()
    stopped, other = (PostgresDriver(read_address(f"{url}&patience=4")) for _ in range(2))
    lock = "SELECT pg_advisory_xact_lock(7)"
    locked, taken = threading.Event(), threading.Event()

    def stop(execute: Execute) -> None:
        execute(lock, ())
        if not locked.is_set():
            locked.set()
            assert taken.wait(60)
            # Its connection is gone, and the whole is tried again on another.
            execute("SELECT 1", ())

    thread = threading.Thread(target=stopped.transact, args=(stop,))
    thread.start()
    assert locked.wait(60)
    other.transact(lambda execute: execute(lock, ()))
    taken.set()
    thread.join(60)
    assert not thread.is_alive()
    stopped.close()
    other.close()


def test_what_the_url_says_of_a_timeout_is_kept(url: str) -> None:
    driver = PostgresDriver(read_address(f"{url}&options=-c%20statement_timeout%3D3s"))
    assert settings(driver) == dict(zip(TIMEOUTS, ("10s", "3s", "5s"), strict=True))
    driver.close()


def test_a_report_may_take_long_but_not_stay_in_a_transaction_without_asking(url: str) -> None:
    driver = PostgresDriver(read_address(url))
    with driver.reading() as connection:
        found = [connection.exec_driver_sql(f"SHOW {name}").scalar() for name in (*TIMEOUTS, "transaction_read_only")]
    assert found == ["0", "0", "10min", "on"]
    driver.close()


def test_a_report_groups_in_memory_and_leaves_the_connection_as_it_was(url: str) -> None:
    driver = PostgresDriver(read_address(url))
    with driver.reading() as connection:
        connection.execution_options(isolation_level="REPEATABLE READ")
        found = [connection.exec_driver_sql(f"SHOW {name}").scalar() for name in ("work_mem", "transaction_isolation")]
        assert found == ["32MB", "repeatable read"]
        connection.rollback()
        # What a pooler in between gives to others is as the server has it.
        assert connection.connection.dbapi_connection.execute("SHOW work_mem").fetchone() == ("4MB",)  # type: ignore[union-attr]
    driver.close()
    own = PostgresDriver(read_address(f"{url}&options=-c%20work_mem%3D7MB"))
    with own.reading() as connection:
        assert connection.exec_driver_sql("SHOW work_mem").scalar() == "7MB"
    own.close()


def test_a_lock_that_somebody_else_keeps_is_told_with_the_way_out(url: str, ledger: Ledger) -> None:
    assert ledger.reserve(hold(cents=1), NOW) is None
    with server().connect(url) as other, other.transaction():
        other.execute("LOCK TABLE costguard_balances")
        with pytest.raises(StoreUnavailable, match="locked by another session for too long"):
            ledger.reserve(hold(cents=1), NOW)
    # And its connection is as good as before.
    assert ledger.reserve(hold(cents=1), NOW) is None
    assert ledger.balances([limit()]) == [(0, 2 * CENT)]


def test_connections_that_the_server_ended_are_replaced_without_an_error(url: str, ledger: Ledger) -> None:
    """As it does with those that were idle in a transaction, or by hand."""
    for _ in range(3):
        assert ledger.reserve(hold(cents=1), NOW) is None
        server().execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE application_name = 'costguard' AND datname = '{url.partition('@/')[2].partition('?')[0]}'"
        )
    assert ledger.balances([limit()]) == [(0, 3 * CENT)]
