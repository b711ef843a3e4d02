from __future__ import annotations

import logging
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from costguard.alerts import slack as slack_module
from costguard.alerts.alert import Alert, RetryLater, Undeliverable
from costguard.alerts.outbox import LEASE_NS, Outbox
from costguard.alerts.quiet import quiet
from costguard.alerts.slack import slack
from costguard.errors import ConfigError, StoreUnavailable
from costguard.ledger.base import Ledger
from costguard.ledger.opening import open_ledger
from costguard.ledger.parcels import parcels
from tests.alerts.crossings import NOON, Clock, tell
from tests.alerts.server import Answer, SlackServer

ROOT = Path(__file__).parents[2]


class Told:
    """A channel that keeps what it is told, after raising what it was given to raise."""

    def __init__(self, *errors: Exception, name: str = "told") -> None:
        self.alerts: list[Alert] = []
        self.errors = list(errors)
        self.asked = 0
        self.name = name

    def __call__(self, alert: Alert) -> None:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        self.alerts.append(alert)


def outbox_of(ledger: Ledger, *channels: object, clock: Clock) -> Outbox:
    return Outbox(ledger, channels, now_ns=clock, pause=lambda tries: 10.0)  # type: ignore[arg-type]


def test_an_outbox_opened_again_while_a_channel_keeps_its_thread_is_delivered_by_one_thread(
    ledger: Ledger, clock: Clock
) -> None:
    asked, answer, threads = threading.Event(), threading.Event(), list[threading.Thread]()

    def slow(alert: Alert) -> None:
        threads.append(threading.current_thread())
        asked.set()
        assert answer.wait(30)

    outbox = outbox_of(ledger, slow, clock=clock)
    for user in ("alice", "bob", "carol"):
        tell(ledger, user)
    outbox.wake()
    assert asked.wait(30)
    outbox.close(timeout=0)
    outbox.open()
    asked.clear()
    assert asked.wait(30)
    answer.set()
    threads[0].join(30)
    assert not threads[0].is_alive()
    assert outbox.flush(20) == 0
    assert [threads[0], *[threads[1]] * 2] == threads
    outbox.close()


def test_each_crossing_is_told_once(ledger: Ledger, server: SlackServer, clock: Clock) -> None:
    outbox = outbox_of(ledger, slack(server.webhook), clock=clock)
    for user in ("alice", "bob", "carol"):
        tell(ledger, user)
    outbox.wake()
    assert outbox.flush(20) == 0
    assert outbox.flush(20) == 0
    assert sorted(message["text"].split()[0] for message in server.received) == ["alice", "bob", "carol"]
    outbox.close()


def test_waking_is_enough_and_nobody_has_to_flush(ledger: Ledger, server: SlackServer, clock: Clock) -> None:
    outbox = outbox_of(ledger, slack(server.webhook), clock=clock)
    tell(ledger)
    outbox.wake()
    assert server.wait_for(received=1)
    tell(ledger, "bob")
    outbox.wake()
    assert server.wait_for(received=2)
    outbox.close()


def test_slack_is_asked_again_until_it_accepts_and_never_after(
    ledger: Ledger, server: SlackServer, clock: Clock
) -> None:
    server.answers.extend([Answer(500, "rollup_error"), Answer(503, "")])
    outbox = outbox_of(ledger, slack(server.webhook), clock=clock)
    tell(ledger)
    assert outbox.flush(5) == 1
    assert outbox.flush(5) == 1
    assert len(server.received) == 1, "before the pause is over nothing is sent"
    clock.advance(11)
    assert outbox.flush(5) == 1
    clock.advance(11)
    assert outbox.flush(20) == 0
    clock.advance(1000)
    assert outbox.flush(20) == 0
    assert (len(server.received), len(server.accepted)) == (3, 1)
    outbox.close()


def test_a_rate_limit_is_obeyed_for_as_long_as_slack_says(ledger: Ledger, server: SlackServer, clock: Clock) -> None:
    server.answers.append(Answer(429, "rate_limited", {"Retry-After": "30"}))
    outbox = outbox_of(ledger, slack(server.webhook), clock=clock)
    for user in ("alice", "bob", "carol"):
        tell(ledger, user)
    outbox.wake()
    assert server.wait_for(received=1)
    assert outbox.flush(0.3) == 3
    assert len(server.received) == 1, "the others wait too"
    clock.advance(29)
    assert outbox.flush(0.3) == 3
    assert len(server.received) == 1
    clock.advance(2)
    assert outbox.flush(20) == 0
    assert len(server.accepted) == 3
    outbox.close()


def test_a_slack_that_times_out_is_tried_again(
    ledger: Ledger, server: SlackServer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slack_module, "TIMEOUT", 0.2)
    server.answers.append(Answer(silent=True))
    outbox = outbox_of(ledger, slack(server.webhook), clock=clock)
    tell(ledger)
    assert outbox.flush(5) == 1
    clock.advance(11)
    assert outbox.flush(20) == 0
    assert (len(server.received), len(server.accepted)) == (2, 1)
    outbox.close()


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_a_webhook_that_is_gone_is_given_up_and_logged(
    server: SlackServer, url: str, clock: Clock, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = open_ledger(url)
    server.answers.append(Answer(status, "no_service"))
    outbox = outbox_of(ledger, slack(server.webhook), clock=clock)
    tell(ledger)
    assert outbox.flush(20) == 0
    clock.advance(3600)
    assert outbox.flush(20) == 0
    assert len(server.received) == 1
    assert f"HTTP {status} no_service" in caplog.text
    assert "secret" not in caplog.text
    outbox.close()
    ledger.close()


@pytest.mark.parametrize("where", ["closed port", "unknown host"])
def test_a_dead_slack_never_raises_and_the_alert_is_kept(
    ledger: Ledger, clock: Clock, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    host = f"127.0.0.1:{port}" if where == "closed port" else "slack.invalid"
    outbox = outbox_of(ledger, slack(f"http://{host}/services/T/B/secret"), clock=clock)
    tell(ledger)
    outbox.wake()
    assert outbox.flush(8) == 1
    assert "not told yet" in caplog.text
    assert "secret" not in caplog.text
    outbox.close()


def test_waking_never_waits_for_a_channel(ledger: Ledger, clock: Clock) -> None:
    reached, release = threading.Event(), threading.Event()

    def stuck(alert: Alert) -> None:
        reached.set()
        assert release.wait(20)

    outbox = outbox_of(ledger, stuck, clock=clock)
    tell(ledger)
    outbox.wake()
    assert reached.wait(20)
    for _ in range(1000):
        outbox.wake()
    assert outbox.flush(0) == 1
    release.set()
    assert outbox.flush(20) == 0
    outbox.close()


def test_a_broken_channel_does_not_keep_another_from_being_told_once(ledger: Ledger, clock: Clock) -> None:
    broken, good = Told(ValueError("no"), KeyError("no"), name="broken"), Told(name="good")
    outbox = outbox_of(ledger, broken, good, clock=clock)
    tell(ledger)
    assert outbox.flush(5) == 1
    assert len(good.alerts) == 1
    clock.advance(11)
    assert outbox.flush(5) == 1
    clock.advance(11)
    assert outbox.flush(20) == 0
    assert (len(broken.alerts), len(good.alerts), good.asked) == (1, 1, 1)
    outbox.close()


def test_a_channel_that_waits_long_keeps_no_other_back(ledger: Ledger, clock: Clock) -> None:
    """Neither in this worker nor in another one: until when each waits is kept in the row."""
    asleep = Told(name="asleep")
    broken = Told(OSError("down"), name="broken")
    limited = Told(RetryLater(60), name="limited")
    channels = (quiet(asleep, "11:00-13:00", now_ns=clock), broken, limited)
    outbox = outbox_of(ledger, *channels, clock=clock)
    tell(ledger)
    assert outbox.flush(5) == 1
    clock.advance(11)
    another = outbox_of(ledger, *channels, clock=clock)
    assert another.flush(5) == 1
    assert (asleep.asked, len(broken.alerts), limited.asked) == (0, 1, 1)
    clock.advance(50)
    assert outbox.flush(5) == 1
    assert (asleep.asked, broken.asked, len(limited.alerts)) == (0, 2, 1)
    clock.advance(3600)
    assert another.flush(20) == 0
    assert (len(asleep.alerts), broken.asked, limited.asked) == (1, 2, 2)
    assert parcels(ledger)[0].told_by == ("broken", "limited", "asleep")
    outbox.close()
    another.close()


def test_what_one_worker_is_told_to_wait_the_others_wait_too(ledger: Ledger, clock: Clock) -> None:
    first, second = Told(RetryLater(30), name="slack"), Told(name="slack")
    one, other = outbox_of(ledger, first, clock=clock), outbox_of(ledger, second, clock=clock)
    tell(ledger, "alice")
    assert one.flush(5) == 1
    tell(ledger, "bob")
    assert other.flush(0.5) == 2
    assert (first.asked, second.asked) == (1, 0)
    clock.advance(31)
    assert other.flush(20) == 0
    assert sorted(alert.who for alert in second.alerts) == ["alice", "bob"]
    one.close()
    other.close()


def test_a_channel_that_is_no_more_holds_nothing_up(ledger: Ledger, clock: Clock) -> None:
    before = outbox_of(ledger, Told(OSError("down"), name="kept"), Told(RetryLater(3600), name="gone"), clock=clock)
    tell(ledger)
    assert before.flush(5) == 1
    before.close()
    clock.advance(11)
    kept = Told(name="kept")
    after = outbox_of(ledger, kept, clock=clock)
    assert after.flush(20) == 0
    assert len(kept.alerts) == 1
    after.close()


def test_what_others_put_into_the_outbox_is_told_without_being_woken(ledger: Ledger, clock: Clock) -> None:
    """A command, or a worker without channels, wakes nobody: who delivers looks by himself."""
    told = Told()
    outbox = Outbox(ledger, [told], now_ns=clock, rounds=lambda: 0.05)
    outbox.wake()
    assert outbox.flush(5) == 0
    tell(ledger)
    deadline = time.monotonic() + 20
    while not told.alerts and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    assert [alert.who for alert in told.alerts] == ["alice"]
    outbox.close()


def test_who_was_told_survives_a_restart(url: str, clock: Clock) -> None:
    good = Told(name="good")
    first = open_ledger(url)
    tell(first)
    outbox = outbox_of(first, good, Told(OSError("down"), name="other"), clock=clock)
    assert outbox.flush(5) == 1
    outbox.close()
    first.close()

    clock.advance(11)
    again, other = open_ledger(url), Told(name="other")
    restarted = outbox_of(again, good, other, clock=clock)
    assert restarted.flush(20) == 0
    assert (good.asked, len(other.alerts)) == (1, 1)
    restarted.close()
    again.close()


def test_a_channel_that_can_never_be_told_is_asked_once_and_the_others_go_on(ledger: Ledger, clock: Clock) -> None:
    gone, slow = Told(Undeliverable("deleted"), name="gone"), Told(RetryLater(30), name="slow")
    outbox = outbox_of(ledger, gone, slow, clock=clock)
    tell(ledger)
    assert outbox.flush(5) == 1
    clock.advance(31)
    assert outbox.flush(20) == 0
    assert (gone.asked, len(slow.alerts)) == (1, 1)
    outbox.close()


@pytest.mark.parametrize("seconds", [0, -3, float("nan"), float("inf"), 1e300, 10**15])
def test_whatever_a_channel_says_it_is_not_asked_without_a_pause_and_keeps_no_other_back(
    ledger: Ledger, clock: Clock, seconds: float
) -> None:
    odd, other = Told(RetryLater(seconds), name="odd"), Told(name="other")
    outbox = outbox_of(ledger, odd, other, clock=clock)
    tell(ledger)
    tell(ledger, "bob")
    assert outbox.flush(2) == 2
    assert (odd.asked, len(other.alerts)) == (1, 2)
    clock.advance(86401)
    assert outbox.flush(20) == 0
    assert (odd.asked, len(odd.alerts), len(other.alerts)) == (3, 2, 2)
    outbox.close()


def test_two_channels_with_the_same_name_are_both_told(ledger: Ledger, clock: Clock) -> None:
    told: list[Alert] = []
    outbox = outbox_of(ledger, told.append, told.append, clock=clock)
    tell(ledger)
    assert outbox.flush(20) == 0
    assert len(told) == 2
    outbox.close()


def test_an_alert_is_tried_for_four_days_and_then_given_up_and_kept_where_people_see_it(
    ledger: Ledger, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Told(*[OSError("down") for _ in range(100)])
    outbox = outbox_of(ledger, broken, clock=clock)
    tell(ledger)
    for times in range(16):
        assert outbox.flush(5) == 1, times
        clock.advance(6 * 3600 + 1)
    assert [one.error for one in parcels(ledger)] == ["told: OSError: down"]
    assert outbox.flush(20) == 0
    assert broken.asked == 16
    assert "given up" in caplog.text
    (kept,) = parcels(ledger, ["given up"])
    assert (kept.error, kept.finished_ns) == ("not told within 96 hours", clock())
    assert outbox.tally == {("told", "retried"): 16, ("told", "given up"): 1}
    outbox.close()


def test_the_first_channel_of_an_app_is_not_flooded_with_old_crossings(ledger: Ledger, clock: Clock) -> None:
    silent = outbox_of(ledger, clock=clock)
    tell(ledger, "old")
    silent.wake()
    assert silent.flush(20) == 0
    clock.advance(5 * 24 * 3600)
    tell(ledger, "new", at_ns=clock())
    told = Told()
    outbox = outbox_of(ledger, told, clock=clock)
    assert outbox.flush(20) == 0
    assert [alert.who for alert in told.alerts] == ["new"]
    outbox.close()


def test_what_came_about_as_the_last_worker_ended_is_told_after_the_weekend(ledger: Ledger, clock: Clock) -> None:
    tell(ledger)
    clock.advance(63 * 3600)
    told = Told()
    outbox = outbox_of(ledger, told, clock=clock)
    assert outbox.flush(20) == 0
    assert len(told.alerts) == 1
    outbox.close()


def test_what_a_killed_worker_had_claimed_is_told_by_another_after_its_lease(ledger: Ledger, clock: Clock) -> None:
    tell(ledger)
    assert len(ledger.claim(clock(), lease_ns=LEASE_NS)) == 1
    told = Told()
    outbox = outbox_of(ledger, told, clock=clock)
    assert outbox.flush(0.3) == 1
    assert not told.alerts
    clock.advance(61)
    assert outbox.flush(20) == 0
    assert len(told.alerts) == 1
    outbox.close()


def test_a_worker_that_hangs_between_two_channels_leaves_the_first_told_once(ledger: Ledger, clock: Clock) -> None:
    good, other = Told(name="good"), Told(name="other")
    reached, release = threading.Event(), threading.Event()

    def hang(alert: Alert) -> None:
        reached.set()
        assert release.wait(20)

    hang.name = "other"  # type: ignore[attr-defined]
    hanging = outbox_of(ledger, good, hang, clock=clock)
    tell(ledger)
    hanging.wake()
    assert reached.wait(20)
    clock.advance(3600)
    second = outbox_of(ledger, good, other, clock=clock)
    assert second.flush(20) == 0
    release.set()
    hanging.close(20)
    assert (good.asked, other.asked) == (1, 1)
    second.close()


def test_a_store_that_breaks_is_logged_and_never_reaches_the_call(
    url: str, tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = open_ledger(url)
    tell(ledger)
    with sqlite3.connect(tmp_path / "costs.db") as database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE name LIKE '%outbox%' AND type='table'"):
            database.execute(f'DROP TABLE "{table}"')
    database.close()
    outbox = outbox_of(ledger, Told(), clock=clock)
    with caplog.at_level(logging.WARNING, "costguard.alerts"):
        outbox.wake()
        with pytest.raises(StoreUnavailable):
            outbox.flush(5)
        outbox.close(10)
    assert "cannot be read" in caplog.text
    ledger.close()


def test_after_closing_nothing_is_told_and_nothing_is_lost(ledger: Ledger, clock: Clock) -> None:
    told = Told()
    outbox = outbox_of(ledger, told, clock=clock)
    outbox.close()
    outbox.close()
    tell(ledger)
    outbox.wake()
    assert outbox.flush(5) == 1
    assert not told.alerts
    assert ledger.undelivered() == 1


def test_workers_in_threads_with_connections_of_their_own_tell_each_crossing_once(
    url: str, server: SlackServer, clock: Clock
) -> None:
    server.answers.extend([Answer(500), Answer(500)])
    ledgers = [open_ledger(url) for _ in range(2)]
    users = [f"user{number}" for number in range(25)]
    for user in users:
        tell(ledgers[0], user, at_ns=time.time_ns())
    outboxes = [
        Outbox(ledger, [slack(server.webhook, folds=False)], now_ns=time.time_ns, pause=lambda tries: 0.02)
        for ledger in ledgers
    ]
    threads = [threading.Thread(target=outbox.flush, args=(30,)) for outbox in outboxes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
    assert ledgers[0].undelivered() == 0
    assert Counter(message["text"].split()[0] for message in server.accepted) == Counter(users)
    for outbox, ledger in zip(outboxes, ledgers, strict=True):
        outbox.close()
        ledger.close()


def test_two_processes_tell_each_crossing_once(url: str, server: SlackServer) -> None:
    server.answers.extend([Answer(500), Answer(429, "rate_limited", {"Retry-After": "1"}), Answer(500)])
    ledger = open_ledger(url)
    users = [f"user{number}" for number in range(25)]
    for user in users:
        tell(ledger, user, at_ns=time.time_ns())
    workers = [start("deliver", url, server.webhook) for _ in range(2)]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.communicate("go\n", timeout=60)[0] == ""
        assert worker.returncode == 0
    assert ledger.undelivered() == 0
    assert Counter(message["text"].split()[0] for message in server.accepted) == Counter(users)
    ledger.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform does not fork")
def test_a_forked_worker_tells_its_own_crossings(url: str, server: SlackServer) -> None:
    worker = start("fork", url, server.webhook)
    out, error = worker.communicate(timeout=60)
    assert worker.returncode == 0, out + error
    assert [message["text"].split()[0] for message in server.accepted] == ["parent", "child"]


def start(what: str, url: str, webhook: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.alerts.worker", what, url, webhook],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("channel", ["https://hooks.slack.com/services/T/B/X", None, 5])
def test_a_channel_that_cannot_be_called_is_refused_with_the_way_out(url: str, channel: object) -> None:
    with pytest.raises(ConfigError, match=r"alerts=\[slack\(webhook_url\)\]"):
        Outbox(open_ledger("memory://"), [channel])  # type: ignore[list-item]


def test_an_async_channel_is_refused_as_it_would_never_run() -> None:
    async def post(alert: Alert) -> None: ...

    with pytest.raises(ConfigError, match="plain def"):
        Outbox(open_ledger("memory://"), [post])


def test_the_clock_of_these_tests_is_a_sunday_noon(clock: Clock) -> None:
    assert time.strftime("%Y-%m-%d %H:%M %a", time.gmtime(NOON // 10**9)) == "2026-11-22 12:00 Sun"
