"""What became of alerts: what waits, what was told, given up and muted, as people see it; and tried again."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner, Result

from costguard.alerts.alert import Alert, RetryLater, Undeliverable
from costguard.alerts.outbox import Outbox
from costguard.cli import app
from costguard.errors import ConfigError
from costguard.ledger.base import Ledger
from costguard.ledger.mutes import mute, unmute
from costguard.ledger.opening import open_ledger
from costguard.ledger.parcels import parcel_counts, parcels, tell_again
from tests.alerts.crossings import Clock, tell
from tests.alerts.pressing import together

HOUR = 3600 * 10**9


class Service:
    """A channel that refuses some users."""

    name = "service"

    def __init__(self, **errors: Exception) -> None:
        self.errors = errors
        self.told: list[str] = []

    def __call__(self, alert: Alert) -> None:
        if alert.who in self.errors:
            raise self.errors[alert.who]
        self.told.append(alert.who)


def delivered(ledger: Ledger, clock: Clock, service: Service) -> Outbox:
    """Alerts of four users, each of which ended otherwise."""
    mute(ledger, payer={"user": "dan"}, author="ann", until_ns=clock() + HOUR, now_ns=clock())
    for user in ("alice", "bob", "dan", "cem"):
        tell(ledger, user)
    outbox = Outbox(ledger, [service], now_ns=clock, pause=lambda tries: 10.0)
    outbox.flush(5)
    return outbox


def service() -> Service:
    return Service(bob=Undeliverable("deleted"), cem=RetryLater(30))


def test_each_alert_is_shown_with_what_became_of_it(ledger: Ledger, clock: Clock) -> None:
    outbox = delivered(ledger, clock, service())
    found = parcels(ledger)
    assert [(one.parcel.payload["payer"], one.state, one.error, one.told_by) for one in found] == [
        ({"user": "cem"}, "waiting", "service: told to wait 30 s", ()),
        ({"user": "dan"}, "muted", "muted by ann: user=dan", ()),
        ({"user": "bob"}, "given up", "service: deleted", ()),
        ({"user": "alice"}, "told", "", ("service",)),
    ]  # fmt: skip
    assert [one.finished_ns for one in found] == [None, clock(), clock(), clock()]
    assert found[0].due_ns == clock() + 30 * 10**9
    assert parcel_counts(ledger) == {"waiting": 1, "told": 1, "given up": 1, "muted": 1}
    assert [one.parcel.id for one in parcels(ledger, ["waiting", "given up"])] == [4, 2]
    assert [one.parcel.id for one in parcels(ledger, most=2, before=3)] == [2, 1]
    assert outbox.tally == {("service", "told"): 1, ("service", "given up"): 1, ("service", "retried"): 1}
    outbox.close()


def test_what_was_given_up_or_muted_is_told_after_all_if_somebody_says_so(ledger: Ledger, clock: Clock) -> None:
    refusing = service()
    outbox = delivered(ledger, clock, refusing)
    refusing.errors.clear()
    clock.advance(200 * 3600)
    tell_again(ledger, 2, author="ann", reason="a new webhook", now_ns=clock())
    tell_again(ledger, 3, author="ann", now_ns=clock())
    outbox.flush(5)
    assert refusing.told == ["alice", "bob", "dan"], "cem's is too old"
    assert parcel_counts(ledger) == {"waiting": 0, "told": 3, "given up": 1, "muted": 0}
    assert [(deed.action, deed.author, deed.reason) for deed in ledger.deeds()][:2] == [
        ("tell again", "ann", ""), ("tell again", "ann", "a new webhook"),
    ]  # fmt: skip
    for number in (1, 99):
        with pytest.raises(ConfigError, match=f"no alert {number} is given up or muted"):
            tell_again(ledger, number, author="ann")
    outbox.close()


def test_what_another_worker_gave_up_is_tried_again_by_who_could_not_tell_it_before(
    ledger: Ledger, clock: Clock
) -> None:
    refusing, failing = Service(alice=Undeliverable("deleted")), Service(alice=OSError("down"))
    failing.name = "failing"
    first = Outbox(ledger, [refusing, failing], now_ns=clock, pause=lambda tries: 10.0)
    tell(ledger)
    assert first.flush(5) == 1
    clock.advance(11)
    refusing.errors.clear()
    failing.errors.clear()
    second = Outbox(ledger, [refusing, failing], now_ns=clock, pause=lambda tries: 10.0)
    assert second.flush(5) == 0
    assert parcel_counts(ledger)["given up"] == 1
    tell_again(ledger, 1, author="ann", now_ns=clock())
    assert first.flush(5) == 0
    assert (refusing.told, failing.told) == (["alice"], ["alice"])
    assert parcel_counts(ledger)["told"] == 1
    for outbox in (first, second):
        outbox.close()


def test_who_mutes_and_unmutes_is_in_the_audit_trail(ledger: Ledger, clock: Clock) -> None:
    now = clock()
    made = mute(ledger, kind="spike", payer={"user": "dan"}, author="ann", until_ns=now + HOUR, reason="a load test",
                now_ns=now)  # fmt: skip
    clock.advance(60)
    unmute(ledger, made.id, "ben", reason="it is over", now_ns=clock())
    with pytest.raises(ConfigError):
        unmute(ledger, made.id, "eve", now_ns=clock())
    ended, began = ledger.deeds()
    about = {"kind": "spike", "budget": "", "payer": {"user": "dan"}, "until": (now + HOUR) // 10**9}
    assert (began.action, began.author, began.reason, began.at_ns, began.details) == (
        "mute", "ann", "a load test", now, about,
    )  # fmt: skip
    assert (ended.action, ended.author, ended.reason, ended.at_ns) == ("unmute", "ben", "it is over", clock())
    assert ended.details == {**about, "mute": made.id}


def test_many_who_unmute_at_once_end_it_once(ledger: Ledger, clock: Clock) -> None:
    made = mute(ledger, kind="spike", author="ann", until_ns=None, now_ns=clock())
    refused: list[ConfigError] = []

    def end() -> None:
        try:
            unmute(ledger, made.id, "ben", now_ns=clock())
        except ConfigError as error:
            refused.append(error)

    together(6, end)
    assert len(refused) == 5
    assert [deed.action for deed in ledger.deeds()] == ["unmute", "mute"]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["alerts", *arguments])


def test_the_command_lists_what_was_given_up_with_why_and_has_it_tried_again(url: str, clock: Clock) -> None:
    ledger = open_ledger(url)
    delivered(ledger, clock, service()).close()
    listed = run("list", "--store", url)
    assert listed.exit_code == 0, listed.output
    lines = listed.stdout.splitlines()
    assert lines[:2] == ["1 alert not told yet", "1 given up: costguard alerts retry ID has one tried again"]
    assert lines[3].split()[:2] == ["4", "waiting"]
    assert lines[3].endswith("1      cem has reached 80 % of $5.00/day per user  service: told to wait 30 s")
    assert lines[4].endswith("bob has reached 80 % of $5.00/day per user  service: deleted")
    shown = json.loads(run("list", "--told", "--json", "--store", url).stdout)
    assert shown["counts"] == {"waiting": 1, "told": 1, "given up": 1, "muted": 1}
    assert [one["told_by"] for one in shown["alerts"]] == [[], [], [], ["service"]]
    again = run("retry", "2", "--author", "ann", "--reason", "a new webhook", "--store", url)
    assert again.stdout == "alert 2 is tried again: bob has reached 80 % of $5.00/day per user\n", again.output
    assert parcel_counts(ledger)["waiting"] == 2
    assert run("retry", "2", "--store", url).exit_code == 2
    ledger.close()
