"""Many alerts at once, threads, quiet hours and mutes: how people are spared, and nothing is lost."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from decimal import Decimal
from queue import SimpleQueue
from threading import Event
from typing import Any

import pytest

from costguard import Guard
from costguard.alerts.alert import Alert, Channel, RetryLater, Undeliverable
from costguard.alerts.folding import FOLD_FROM, MOST_FOLDED, Folded
from costguard.alerts.outbox import LEASE_NS, Outbox
from costguard.alerts.quiet import quiet
from costguard.alerts.rules_alert import RuleAlert
from costguard.alerts.slack import slack
from costguard.errors import ConfigError, CostGuardError
from costguard.ledger.base import Ledger
from costguard.ledger.mutes import mute
from tests.alerts.crossings import NOON, Clock, tell
from tests.alerts.server import Answer, SlackServer

TOKEN = "xoxb-1-2"


class Told:
    """A channel that keeps what it is told, after raising what it was given to raise."""

    def __init__(self, *errors: Exception, name: str = "told", folds: bool = True) -> None:
        self.alerts: list[Alert] = []
        self.errors = list(errors)
        self.asked = 0
        self.name = name
        self.folds = folds

    def __call__(self, alert: Alert) -> None:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        self.alerts.append(alert)

    @property
    def users(self) -> list[str]:
        return [one.who for alert in self.alerts for one in (alert.alerts if isinstance(alert, Folded) else [alert])]


def outbox_of(ledger: Ledger, *channels: Channel, clock: Clock) -> Outbox:
    return Outbox(ledger, channels, now_ns=clock, pause=lambda tries: 10.0)


def users(count: int) -> list[str]:
    return [f"user{number:03d}" for number in range(count)]


def tell_all(ledger: Ledger, names: list[str], **more: Any) -> None:
    for user in names:
        tell(ledger, user, **more)


def test_many_at_once_are_one_message_with_a_line_for_each(ledger: Ledger, server: SlackServer, clock: Clock) -> None:
    tell_all(ledger, users(30))
    outbox = outbox_of(ledger, slack(server.webhook), clock=clock)
    assert outbox.flush(20) == 0
    (message,) = server.accepted
    assert message["blocks"][0]["text"]["text"] == "30 alerts at once: 30 on budgets"
    shown = "\n".join(block["text"]["text"] for block in message["blocks"][1:])
    assert shown.count("\n") == 29
    assert "• user007 has reached 80 % of $5.00/day per user ($4.02 of $5.00)" in shown
    assert all(len(block["text"]["text"]) <= 3000 for block in message["blocks"])
    outbox.close()


def test_a_user_with_odd_letters_pushes_nobody_out_of_a_message(
    ledger: Ledger, server: SlackServer, clock: Clock
) -> None:
    tell_all(ledger, [*[f"{number}{'&' * 190}" for number in range(6)], *users(4)])
    outbox = outbox_of(ledger, slack(server.webhook), clock=clock)
    assert outbox.flush(20) == 0
    (message,) = server.accepted
    assert [block["text"]["text"].count("• ") for block in message["blocks"][1:]] == [10]
    assert message["blocks"][1]["text"]["text"].count("• user") == 4
    outbox.close()


def test_few_at_once_get_a_message_each(ledger: Ledger, server: SlackServer, clock: Clock) -> None:
    tell_all(ledger, users(FOLD_FROM - 1))
    outbox = outbox_of(ledger, slack(server.webhook), clock=clock)
    assert outbox.flush(20) == 0
    assert len(server.accepted) == FOLD_FROM - 1
    outbox.close()


def test_of_more_than_a_message_takes_nobody_is_left_out(ledger: Ledger, clock: Clock) -> None:
    told = Told()
    tell_all(ledger, users(3 * MOST_FOLDED + 1))
    outbox = outbox_of(ledger, told, clock=clock)
    assert outbox.flush(20) == 0
    assert sorted(told.users) == users(3 * MOST_FOLDED + 1)
    assert told.asked == 4
    outbox.close()


def test_a_folded_message_that_fails_is_tried_again_as_one_and_told_once(ledger: Ledger, clock: Clock) -> None:
    told, other = Told(OSError("down"), RetryLater(30)), Told(name="other")
    tell_all(ledger, users(20))
    outbox = outbox_of(ledger, told, other, clock=clock)
    assert outbox.flush(5) == 20
    clock.advance(11)
    assert outbox.flush(5) == 20
    clock.advance(31)
    assert outbox.flush(20) == 0
    assert (told.asked, len(told.alerts), sorted(told.users)) == (3, 1, users(20))
    assert (other.asked, sorted(other.users)) == (1, users(20))
    outbox.close()


def test_a_folded_message_that_is_refused_is_told_one_by_one(ledger: Ledger, clock: Clock) -> None:
    told = Told(Undeliverable("invalid_blocks"))
    tell_all(ledger, users(10))
    outbox = outbox_of(ledger, told, clock=clock)
    assert outbox.flush(20) == 0
    assert (told.asked, len(told.alerts), sorted(told.users)) == (11, 10, users(10))
    outbox.close()


def test_a_channel_that_does_not_fold_gets_each_alert(ledger: Ledger, clock: Clock) -> None:
    single, folding = Told(name="single", folds=False), Told(name="folding")
    tell_all(ledger, users(20))
    outbox = outbox_of(ledger, single, folding, clock=clock)
    assert outbox.flush(20) == 0
    assert [len(single.alerts), len(folding.alerts)] == [20, 1]
    assert sorted(single.users) == sorted(folding.users) == users(20)
    outbox.close()


def test_what_a_slow_channel_has_no_time_for_is_left_to_the_next_claim(ledger: Ledger, clock: Clock) -> None:
    told: list[str] = []

    def slow(alert: Alert) -> None:
        told.append(alert.who)
        clock.advance(LEASE_NS / 10**9 / 4)

    tell_all(ledger, users(10))
    outbox = outbox_of(ledger, slow, Told(), clock=clock)
    assert outbox.flush(3600) == 0
    assert sorted(told) == users(10), "each once, though all of them take longer than one lease"
    outbox.close()


def test_the_alerts_of_a_budget_in_one_window_are_a_thread(ledger: Ledger, server: SlackServer, clock: Clock) -> None:
    outbox = outbox_of(ledger, slack(token=TOKEN, channel="#costs", base_url=server.base_url), clock=clock)
    tell(ledger, "alice", fraction="0.5")
    assert outbox.flush(20) == 0
    tell(ledger, "bob", fraction="0.5")
    tell(ledger, "alice", fraction="1", spent="5")
    tell(ledger, "alice", budget="$100/month per user")
    tell(ledger, "alice", at_ns=NOON + 24 * 3600 * 10**9)
    assert outbox.flush(20) == 0
    outbox.close()
    first, *others = server.accepted
    assert "thread_ts" not in first
    assert [one.get("thread_ts") for one in others] == ["1.2", "1.2", None, None]
    assert [one.get("reply_broadcast") for one in others] == [False, True, None, None], "used up: seen in the channel"


def test_another_worker_finds_the_thread(url: str, server: SlackServer, clock: Clock) -> None:
    from costguard.ledger.opening import open_ledger

    for user in ("alice", 'bob "]@{,'):
        ledger = open_ledger(url)
        outbox = outbox_of(ledger, slack(token=TOKEN, channel="#costs", base_url=server.base_url), clock=clock)
        tell(ledger, user)
        assert outbox.flush(20) == 0
        outbox.close()
        ledger.close()
    assert [one.get("thread_ts") for one in server.accepted] == [None, "1.2"]


def test_a_thread_whose_first_message_is_gone_is_begun_anew(ledger: Ledger, server: SlackServer, clock: Clock) -> None:
    outbox = outbox_of(ledger, slack(token=TOKEN, channel="#costs", base_url=server.base_url), clock=clock)
    tell(ledger, "alice")
    assert outbox.flush(20) == 0
    server.answers.append(Answer(200, '{"ok": false, "error": "thread_not_found"}'))
    tell(ledger, "bob")
    assert outbox.flush(20) == 0
    assert [one.get("thread_ts") for one in server.received] == [None, "1.2", None]
    outbox.close()


def test_in_quiet_hours_what_can_wait_waits_and_then_comes_as_one(ledger: Ledger, clock: Clock) -> None:
    told = Told()
    outbox = outbox_of(ledger, quiet(told, "11:00-13:00", now_ns=clock), clock=clock)
    tell_all(ledger, users(10))
    tell(ledger, "urgent", fraction="1", spent="5")
    tell(ledger, "refused", fraction="0.9", refused=True)
    assert outbox.flush(2) == 10
    assert sorted(told.users) == ["refused", "urgent"]
    clock.advance(3590)
    assert outbox.flush(2) == 10
    clock.advance(11)
    assert outbox.flush(20) == 0
    assert (told.asked, sorted(told.users[2:])) == (3, users(10))
    outbox.close()


def test_what_comes_about_at_different_moments_of_the_night_is_one_message_in_the_morning(
    ledger: Ledger, clock: Clock
) -> None:
    told = Told()
    outbox = outbox_of(ledger, quiet(told, "11:00-13:00", now_ns=clock), clock=clock)
    for user in users(10):
        tell(ledger, user)
        outbox.flush(2)
        clock.advance(100.07)
    clock.now_ns = NOON + 3600 * 10**9
    assert outbox.flush(20) == 0
    assert (told.asked, sorted(told.users)) == (1, users(10))
    outbox.close()


@pytest.mark.parametrize("fails", [False, True])
def test_a_guard_that_ends_in_quiet_hours_has_failed_nobody(clock: Clock, fails: bool) -> None:
    """What another channel could not be told is an error all the same."""
    asleep, other = Told(name="asleep"), Told(*[OSError("down")] * 9 * fails, name="other")
    channels: list[Any] = [quiet(asleep, "11:00-13:00", now_ns=clock), other]
    guard = Guard("memory://", [], channels)
    tell(guard.ledger, at_ns=time.time_ns())
    with pytest.raises(CostGuardError, match="1 alerts are not delivered yet") if fails else nullcontext():
        guard.close(3)
    assert (asleep.asked, len(other.alerts)) == (0, not fails)
    assert guard.ledger.undelivered() == 1


def test_what_cannot_wait_is_told_at_night(clock: Clock, make_alert: Callable[..., Alert]) -> None:
    def waits(kind: str, rule: str = "", **changes: Any) -> bool:
        given = make_alert(kind=kind, **changes)
        fields = {name: getattr(given, name) for name in Alert.__dataclass_fields__}
        alert = RuleAlert(**fields, rule=rule) if rule else given
        return quiet(Told(), "11:00-13:00", now_ns=clock).holds_back(alert) is not None

    assert waits("budget")
    assert not waits("budget", fraction=Decimal(1))
    assert not waits("budget", refused=True)
    assert not waits("refusals", "refusals 10/1h")
    assert not waits("burn", "burn fast")
    assert waits("burn", "burn slow")
    assert not waits("journal", "journal over 64MB")
    assert waits("digest", "digest daily 09:00")
    assert waits("spike", "spike 3x")


@pytest.mark.parametrize(
    ("hours", "tz", "seconds"),
    [
        ("11:00-13:00", "UTC", 3600),
        ("22:00-12:30", "UTC", 1800),
        ("13:00-11:00", "UTC", None),
        ("12:00-12:01", "UTC", 60),
        ("11:00-12:00", "UTC", None),
        ("12:30-13:30", "Europe/Berlin", 1800),
        ("12:30-06:00", "Europe/Berlin", 17 * 3600),
    ],
)
def test_quiet_hours_are_of_their_time_zone_and_may_go_over_midnight(
    clock: Clock, hours: str, tz: str, seconds: float | None, make_alert: Callable[..., Alert]
) -> None:
    assert quiet(Told(), hours, tz=tz, now_ns=clock).holds_back(make_alert()) == seconds


def test_quiet_hours_end_by_the_clock_on_the_wall_when_that_is_changed(make_alert: Callable[..., Alert]) -> None:
    before_the_change = Clock(1_774_738_800 * 10**9)  # 2026-03-29 00:00 in Berlin, where 02:00 is 03:00
    channel = quiet(Told(), "22:00-07:00", tz="Europe/Berlin", now_ns=before_the_change)
    assert channel.holds_back(make_alert()) == 6 * 3600


def test_quiet_hours_that_end_in_an_hour_that_comes_twice_end_in_that_of_now(make_alert: Callable[..., Alert]) -> None:
    now = Clock(1_792_887_000 * 10**9)  # 2026-10-25 02:10 in Berlin, for the first time
    channel = quiet(Told(), "22:00-02:30", tz="Europe/Berlin", now_ns=now)
    assert channel.holds_back(make_alert()) == 20 * 60
    now.advance(3600)
    assert channel.holds_back(make_alert()) == 20 * 60


@pytest.mark.parametrize("hours", ["", "22-7", "22:00", "24:00-07:00", "22:60-07:00", "07:00-07:00", 5])
def test_wrong_quiet_hours_are_refused(hours: Any) -> None:
    with pytest.raises(ConfigError, match="quiet hours"):
        quiet(Told(), hours)


def test_quiet_is_given_a_channel() -> None:
    with pytest.raises(ConfigError, match="not a channel"):
        quiet("https://hooks.slack.com/services/T/B/X", "22:00-07:00")  # type: ignore[arg-type]


def test_a_muted_alert_is_not_told_and_is_kept(ledger: Ledger, clock: Clock) -> None:
    told = Told()
    mute(
        ledger, budget="$5.00/day per user", payer={"user": "alice"}, until_ns=NOON + 3600 * 10**9, author="ann",
        now_ns=NOON,
    )  # fmt: skip
    outbox = outbox_of(ledger, told, clock=clock)
    tell(ledger, "alice")
    tell(ledger, "bob")
    assert outbox.flush(20) == 0
    assert told.users == ["bob"]
    clock.advance(3601)
    tell(ledger, "alice", fraction="1", at_ns=clock())
    assert outbox.flush(20) == 0
    assert told.users == ["bob", "alice"]
    assert not ledger.tell(_again(ledger)), "what was muted is still a row"
    outbox.close()


def _again(ledger: Ledger) -> Any:
    from decimal import Decimal

    from costguard.budgets import Budget
    from costguard.events import Crossing
    from costguard.tags import Tags

    limit = Budget.parse("$5/day per user").limit_for(Tags(user="alice"), NOON)
    return Crossing(limit, Decimal("0.8"), 4_020_000_000, NOON)


def test_a_user_cannot_break_out_of_a_line_of_a_folded_message(
    ledger: Ledger, server: SlackServer, clock: Clock
) -> None:
    tell_all(ledger, users(6))
    tell(ledger, "eve\n• admin has reached 0 %\n<!channel> @here <https://evil.example|x>")
    outbox = outbox_of(ledger, slack(server.webhook), clock=clock)
    assert outbox.flush(20) == 0
    (message,) = server.accepted
    shown = json.dumps(message["blocks"], ensure_ascii=False)
    assert "<!channel>" not in shown
    assert "@here" not in shown
    assert "<https" not in shown
    assert sum(block["text"]["text"].count("\n• ") + 1 for block in message["blocks"][1:]) == 7
    outbox.close()


def test_other_work_is_done_in_the_thread_before_each_look(ledger: Ledger, clock: Clock) -> None:
    told: SimpleQueue[str] = SimpleQueue()
    asked: list[int] = []
    broken = Event()

    def rounds() -> float | None:
        asked.append(1)
        if len(asked) == 1:
            tell(ledger, "made by a rule")
            return None
        broken.set()
        raise ValueError("a rule is broken")

    outbox = Outbox(ledger, [lambda alert: told.put(alert.who)], now_ns=clock, rounds=rounds)
    outbox.wake()
    assert told.get(timeout=20) == "made by a rule"
    tell(ledger, "later")
    outbox.wake()
    assert told.get(timeout=20) == "later"
    # It may have been told in the first look, which was not over.
    assert broken.wait(20)
    outbox.close()
