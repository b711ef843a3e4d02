"""Who looks at the rules, and when: one worker of any number, none for a while, and never at old news."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from costguard import BudgetExceeded, ConfigError, Guard
from costguard.alerts.alert import Alert
from costguard.alerts.outbox import Outbox
from costguard.alerts.rules import Rule
from costguard.alerts.rules_alert import RuleAlert
from costguard.alerts.rules_watch import Watch
from costguard.alerts.schedule import GRACE_NS, LEASE_NS, POLL, Schedule
from costguard.budget_set import BudgetSet
from costguard.call import Call
from costguard.errors import StoreUnavailable
from costguard.events import Outcome
from costguard.ledger.alert_state import BUCKET_NS, Count, alert_state
from costguard.ledger.base import Ledger
from costguard.ledger.memory import MemoryLedger
from costguard.ledger.mutes import mute, muted_by, mutes, unmute
from costguard.ledger.opening import open_ledger
from costguard.notice import News
from costguard.pricing.usage import Usage
from costguard.tags import Frame, Tags, close_frame, open_frame, tagged
from tests.alerts.scenario import BEAT, HOUR, MINUTE, Clock, Story, at, told, worker

PAYER = "payer over $20/day"


def story_of(ledger: Ledger) -> None:
    story = Story(ledger)
    story.calls(at("10 00:00"), at("10 06:00"), 10 * MINUTE, "1", user="alice")
    story.write()


def test_many_workers_tell_each_thing_once(ledger: Ledger) -> None:
    story_of(ledger)
    clock = Clock(at("10 03:00") + GRACE_NS)
    those = [worker(ledger, [PAYER], clock) for _ in range(8)]
    start = threading.Barrier(8)

    def run(each: Any) -> None:
        start.wait(20)
        each.rounds()

    for tick in range(at("10 03:00"), at("10 03:30"), BEAT):
        clock.now_ns = tick + GRACE_NS
        threads = [threading.Thread(target=run, args=(each,)) for each in those]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert told(ledger) == [("10 03:15", "alice has spent $20.00 this day")]


def test_workers_with_budgets_of_their_own_each_look_at_theirs(ledger: Ledger) -> None:
    story = Story(ledger)
    story.calls(at("10 10:00"), at("10 12:00"), MINUTE, "2.40", user="alice", feature="chat")
    story.write()
    clock = Clock(0)
    budgets = (["$240/day per user"], ["$240/day per user"], ["$200/day per feature"], [])
    those = [worker(ledger, ["burn fast", "projected"], clock, of) for of in budgets]
    for tick in range(at("10 10:00"), at("10 13:00"), BEAT):
        clock.now_ns = tick + GRACE_NS
        for each in those if tick // BEAT % 2 else those[::-1]:
            each.rounds()
    assert sorted(told(ledger)) == [
        ("10 10:50", "chat burns $200.00/day per feature at 14.4 times its pace"),
        ("10 11:00", "alice burns $240.00/day per user at 14.4 times its pace"),
        ("10 11:00", "alice is heading for $314.19 of $240.00/day per user"),
        ("10 11:00", "chat is heading for $314.19 of $200.00/day per feature"),
    ]


def test_a_rule_is_one_workers_until_its_lease_ends(ledger: Ledger) -> None:
    state = alert_state(ledger)
    tick = at("10 03:00")
    first = state.claim("rule", tick, tick, LEASE_NS)
    assert first is not None
    assert first.first
    assert state.claim("rule", tick, tick + LEASE_NS - 1000, LEASE_NS) is None
    second = state.claim("rule", tick, tick + LEASE_NS, LEASE_NS)
    assert second is not None
    # The first one lived after all: what the second one found counts.
    assert not state.finish(first, tick, {"of": "the first"})
    assert state.finish(second, tick, {"of": "the second"})
    assert state.claim("rule", tick, tick + 2 * LEASE_NS, LEASE_NS) is None
    third = state.claim("rule", tick + BEAT, tick + BEAT, LEASE_NS)
    assert third is not None
    assert not third.first
    assert (third.done_ns, third.memory) == (tick, {"of": "the second"})


def test_a_worker_that_died_at_a_look_is_followed_by_another(ledger: Ledger) -> None:
    story_of(ledger)
    clock = Clock(at("10 03:15") + GRACE_NS)
    assert alert_state(ledger).claim("payer over $20.00/day", at("10 03:15"), clock.now_ns, LEASE_NS)
    follower = worker(ledger, [PAYER], clock)
    follower.rounds()
    assert told(ledger) == []
    clock.now_ns += BEAT
    follower.rounds()
    assert [title for _, title in told(ledger)] == ["alice has spent $20.00 this day"]


def test_a_rule_that_is_new_tells_no_old_news(ledger: Ledger) -> None:
    story = Story(ledger)
    story.call(at("10 02:00"), "50", user="alice")
    story.calls(at("10 00:00"), at("10 01:00"), MINUTE, "1", user="bob", feature="burst")
    story.write()
    clock = Clock(at("10 12:00") + GRACE_NS)
    worker(ledger, ["call over $2", "new model", "burn fast", "spike 3x", "digest daily 09:00"], clock).rounds()
    assert told(ledger) == []


def test_workers_that_were_away_tell_of_what_goes_on_for_an_hour_and_no_more(ledger: Ledger) -> None:
    rules = ["retries 5/15m"]
    clock = Clock(at("10 00:00") + GRACE_NS)
    one = worker(ledger, rules, clock)
    one.rounds()
    story = Story(ledger)
    for begin in ("10 01:00", "10 10:40"):
        story.calls(at(begin), at(begin) + 10 * MINUTE, MINUTE, "0", model="gpt-5", failed=True)
    story.write()
    clock.now_ns = at("10 11:30") + GRACE_NS
    one.rounds()
    assert [when for when, _ in told(ledger)] == ["10 10:45"]


def test_what_is_so_of_a_window_a_call_or_a_model_is_told_of_once_though_nobody_ran(ledger: Ledger) -> None:
    rules = ["payer over $5/day", "call over $2", "new model", "refusals 5/day", "unattributed over 90%/day"]
    clock = Clock(at("13 18:00") + GRACE_NS)
    those = [worker(ledger, rules, clock) for _ in range(2)]
    for each in those:
        each.rounds()
    # Written by processes that look at no rules, over a weekend. Told of on Monday.
    story = Story(ledger)
    story.calls(at("13 20:00"), at("14 02:00"), HOUR, "1", user="alice")
    story.calls(at("14 04:00"), at("14 10:00"), HOUR, "1", user="alice")
    story.call(at("15 10:00"), "7", user="bob", model="gpt-5")
    story.calls(at("15 12:00"), at("15 15:00"), HOUR, "40")
    story.write()
    about = '{"budget":"b","payer":{"user":"eve"},"tags":{"user":"eve"}}'
    alert_state(ledger).count([Count("refused", at("14 11:00"), about, 7)])
    clock.now_ns = at("16 08:30") + GRACE_NS
    for _ in range(2):
        for each in those:
            each.rounds()
        clock.now_ns += BEAT
    assert sorted(told(ledger)) == [
        ("15 00:00", "7 calls of eve were refused"),
        ("15 00:00", "alice has spent $5.00 this day"),
        ("16 00:00", "94 % of the last day's spending has no user"),
        ("16 00:00", "bob has spent $5.00 this day"),
        ("16 00:00", "unattributed has spent $5.00 this day"),
        ("16 07:35", "A call of bob cost $7.00"),
        ("16 07:35", "A call of unattributed cost $40.00"),
        ("16 07:35", "A call of unattributed cost $40.00"),
        ("16 07:35", "A call of unattributed cost $40.00"),
        ("16 08:00", "94 % of the last day's spending has no user"),
        ("16 08:30", "openai/gpt-4o is used for the first time"),
        ("16 08:30", "openai/gpt-5 is used for the first time"),
    ]  # fmt: skip


def test_digests_of_days_on_which_nobody_ran_are_told_once(ledger: Ledger) -> None:
    rules = ["digest daily 09:00"]
    clock = Clock(at("13 18:00") + GRACE_NS)
    one = worker(ledger, rules, clock)
    one.rounds()
    story = Story(ledger)
    story.calls(at("13 01:00"), at("13 12:00"), HOUR, "1", user="bob")
    story.calls(at("15 01:00"), at("15 03:00"), HOUR, "1", user="bob")
    story.write()
    clock.now_ns = at("16 08:30") + GRACE_NS
    one.rounds()
    assert [title for _, title in told(ledger)] == ["Spent on 2026-11-13: $11.00", "Spent on 2026-11-14: $0.00"]
    clock.now_ns = at("16 09:00") + GRACE_NS
    one.rounds()
    assert [title for _, title in told(ledger)] == ["Spent on 2026-11-15: $2.00"]


def test_what_goes_on_is_told_of_again_after_a_calm(ledger: Ledger) -> None:
    story = Story(ledger)
    for begin in ("10 01:00", "10 01:40", "10 04:00"):
        story.calls(at(begin), at(begin) + 10 * MINUTE, MINUTE, "0", model="gpt-5", failed=True)
    story.write()
    clock = Clock(at("10 00:55") + GRACE_NS)
    one = worker(ledger, ["retries 5/15m"], clock)
    while clock.now_ns < at("10 05:00"):
        one.rounds()
        clock.now_ns += BEAT
    assert [when for when, _ in told(ledger)] == ["10 01:05", "10 04:05"]


def test_a_rule_that_fails_keeps_back_no_other(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    story_of(ledger)
    clock = Clock(at("10 03:15") + GRACE_NS)
    # A memory that no version of the rule has written.
    state = alert_state(ledger)
    turn = state.claim("new model", at("10 01:00"), at("10 01:00"), LEASE_NS)
    assert turn is not None
    state.finish(turn, at("10 01:00"), {"known": 5})
    with caplog.at_level(logging.ERROR):
        worker(ledger, ["new model", PAYER], clock).rounds()
    assert "alert rule 'new model' cannot be looked at" in caplog.text
    assert [title for _, title in told(ledger)] == ["alice has spent $20.00 this day"]


def test_counts_are_added_up_and_forgotten(ledger: Ledger) -> None:
    state = alert_state(ledger)
    for number in (3, 4):
        state.count([Count("refused", 0, "{}", number), Count("refused", BUCKET_NS, "{}", 1)])
    assert [one.count for one in state.counts("refused", 0, BUCKET_NS)] == [7]
    state.forget(BUCKET_NS)
    assert state.counts("refused", 0, 10 * BUCKET_NS) == [Count("refused", BUCKET_NS, "{}", 2)]


USAGE = Usage(input_tokens=1000, output_tokens=1000)


def spend(guard: Guard, cost: int = 10**9, **tags: str) -> None:
    call = Call("openai", "gpt-4o", tags=Tags(tags) if tags else None)
    guard.reserve(call)
    guard.settle(call, Outcome("ok", USAGE, reported=cost))


def until(condition: Callable[[], Any]) -> None:
    """Wait, at most twenty seconds, until it is so."""
    pause = threading.Event()
    for _ in range(2000):
        if condition():
            return
        pause.wait(0.01)
    pytest.fail("it never came")


@pytest.mark.parametrize("engine", ["direct", "leases"])
def test_refusals_of_all_workers_are_counted_and_told_of_once(url: str, engine: Any) -> None:
    told_of: list[Alert] = []
    rules = ["refusals 10/1h"]
    for _ in range(2):
        with Guard(url, ["$1/day per user alerts off"], [told_of.append], engine=engine, alert_rules=rules) as guard:
            for _ in range(6):
                try:
                    spend(guard, user="alice")
                except BudgetExceeded:
                    continue
    with Guard(url, [], [told_of.append], engine=engine) as guard:
        found = alert_state(guard.ledger).counts("refused", 0, 2**62)
        assert sum(one.count for one in found) >= 10
        assert {one.about["payer"]["user"] for one in found} == {"alice"}
        assert {one.about["budget"] for one in found} == {"$1.00/day per user"}
        clock = Clock(max(one.at_ns for one in found) + BUCKET_NS + GRACE_NS)
        for each in (worker(guard.ledger, rules, clock), worker(guard.ledger, rules, clock)):
            each.rounds()
        guard.flush()
    (alert,) = told_of
    assert isinstance(alert, RuleAlert)
    assert (alert.kind, alert.payer, alert.rule) == ("refusals", {"user": "alice"}, "refusals 10/1h")
    assert alert.title.endswith("calls of alice were refused")


def test_a_refused_call_asks_nothing_of_the_store() -> None:
    class Away(MemoryLedger):
        def tell(self, crossing: Any) -> bool:
            raise StoreUnavailable("it is away")

    ledger = Away()
    with Guard(ledger, ["$1/day alerts off"], [print], alert_rules=["request over $5", "refusals 10/1h"]) as guard:
        assert guard._schedule is not None
        spend(guard)
        for _ in range(3):
            with pytest.raises(BudgetExceeded):
                spend(guard)
    assert sum(one.count for one in alert_state(ledger).counts("refused", 0, 2**62)) == 3


def test_one_request_that_costs_too_much_is_told_of_once() -> None:
    told_of: list[Alert] = []
    with Guard("memory://", [], [told_of.append], alert_rules=["request over $5"]) as guard:
        for cost in (2, 3, 4):
            token = open_frame(Frame(Tags(user="alice", route="/agent")))
            with tagged(feature="loop"):
                for _ in range(2):
                    spend(guard, cost * 10**9)
            close_frame(token)
        guard.flush()
    assert sorted(alert.title for alert in told_of) == [
        "One request to /agent has cost $6.00", "One request to /agent has cost $8.00",
    ]  # fmt: skip


def test_dear_requests_are_all_told_of_though_two_threads_bring_them_to_the_store_at_once() -> None:
    class Slow(MemoryLedger):
        begun, other = threading.Event(), threading.Event()

        def tell(self, crossing: News) -> bool:
            if threading.current_thread() is not threading.main_thread():
                self.other.set()
            elif not self.begun.is_set():
                self.begun.set()
                self.other.wait(0.3)  # for what must not be: both at it
            return super().tell(crossing)

    ledger = Slow()
    watch = Watch(ledger, [Rule.parse("request over $5")], lambda: None)
    with Guard(ledger, [], hooks=[watch]) as guard:
        for user in ("alice", "bob", "carol"):
            token = open_frame(Frame(Tags(user=user, route="/agent")))
            spend(guard, 6 * 10**9)
            close_frame(token)

        def beside() -> None:
            assert ledger.begun.wait(30)
            watch.write()

        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(beside)
            watch.write()
            second.result(30)
    assert not watch.waits
    assert ledger.undelivered() == 3


def test_each_rule_for_requests_tells_of_the_same_request_once() -> None:
    told_of: list[Alert] = []
    with Guard("memory://", [], [told_of.append], alert_rules=["request over $5", "request over $20"]) as guard:
        token = open_frame(Frame(Tags(user="alice", route="/agent")))
        for _ in range(4):
            spend(guard, 6 * 10**9)
        close_frame(token)
        guard.flush()
    assert sorted(alert.rule for alert in told_of if isinstance(alert, RuleAlert)) == [
        "request over $20.00", "request over $5.00",
    ]  # fmt: skip


def test_a_journal_that_fills_is_told_of_once_a_day_and_host() -> None:
    class Filling(MemoryLedger):
        waiting = (1000, 65_000_000)

    ledger = Filling()
    clock = Clock(at("10 01:00"))
    one = worker(ledger, ["journal over 64MB"], clock)
    for _ in range(3):
        one.rounds()
        clock.now_ns += BEAT
    ((_, title),) = told(ledger)
    assert title.startswith("The journal of ")
    assert title.endswith(" fills: 65MB wait")


def test_rules_of_the_budget_file_are_in_force(tmp_path: Any) -> None:
    file = tmp_path / "budgets.toml"
    file.write_text('[alerts]\nrules = ["burn fast", "digest daily 09:00"]\n[[budget]]\nrule = "$5/day"\n', "utf-8")
    with Guard("memory://", [], [print], budget_file=file, alert_rules=["burn fast", "new model"]) as guard:
        assert guard._schedule is not None
        assert [str(rule) for rule in guard._schedule.rules] == ["burn fast", "new model", "digest daily 09:00"]
    file.write_text('[alerts]\nrules = ["brun fast"]\n', "utf-8")
    with pytest.raises(ConfigError, match=r"budgets.toml, \[alerts\]: alert rule 'brun fast': 'brun' is not one of"):
        Guard("memory://", [], [print], budget_file=file)


def test_a_changed_file_of_rules_is_read_while_the_app_runs(
    tmp_path: Any, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "budgets.toml"
    file.write_text('[alerts]\nrules = ["burn fast"]\n', "utf-8")
    one = Schedule(ledger, [Rule.parse("new model")], BudgetSet([]), wake=lambda: None, file=file)

    def rules() -> list[str]:
        again = one.rounds()
        assert again is not None
        assert again <= POLL
        return [str(rule) for rule in one.rules]

    assert rules() == ["new model", "burn fast"]
    file.write_text('[alerts]\nrules = ["call over $2", "request over $5"]\n', "utf-8")
    assert rules() == ["new model", "call over $2.00", "request over $5.00"]
    file.write_text('[alerts]\nrules = ["brun fast"]\n', "utf-8")
    assert rules() == ["new model", "call over $2.00", "request over $5.00"]
    assert rules() == ["new model", "call over $2.00", "request over $5.00"]
    assert caplog.text.count("alert rules stay as they were") == 1
    file.write_text("[[budget]]\nrule = '$5/day'\n", "utf-8")
    assert rules() == ["new model"]


def test_a_journal_that_fills_while_the_store_is_away_is_told_of_all_the_same() -> None:
    class Away(MemoryLedger):
        waiting = (1000, 65_000_000)

        def tell(self, crossing: Any) -> bool:
            raise StoreUnavailable("it is away")

    told_of: list[Alert] = []
    ledger, clock = Away(), Clock(at("10 01:00"))
    one = worker(ledger, ["journal over 64MB"], clock)
    one.shout = Outbox(ledger, [told_of.append]).shout
    for _ in range(3):
        one.rounds()
        clock.now_ns += BEAT
    assert [alert.kind for alert in told_of] == ["journal"]


def test_rules_without_a_channel_are_refused() -> None:
    with pytest.raises(ConfigError, match="alert_rules need a channel"):
        Guard("memory://", alert_rules=["burn fast"])


def test_a_forgotten_guard_keeps_no_thread() -> None:
    guard = Guard("memory://", [], [print], alert_rules=["burn fast"])
    outbox = guard._outbox
    until(lambda: outbox._thread is not None)
    rounds = guard._schedule.rounds
    guard.close()
    del guard
    import gc

    gc.collect()
    assert rounds() is None


def test_mutes_cover_what_they_say(ledger: Ledger) -> None:
    now = at("10 00:00")
    one = mute(ledger, kind="spike", author="ann", until_ns=now + HOUR, reason="a load test", now_ns=now)
    two = mute(ledger, budget="$5.00/day per user", payer={"user": "bob"}, author="ann", until_ns=None, now_ns=now)
    assert mutes(ledger, now_ns=now) == [one, two]
    spike = {"kind": "spike", "facts": {"rule": "spike 3x", "payer": {}}}
    crossing = {"budget": "$5.00/day per user", "name": "", "payer": {"user": "bob"}}
    assert muted_by([one, two], spike) == one
    assert muted_by([one, two], crossing) == two
    assert muted_by([one, two], {**crossing, "payer": {"user": "alice"}}) is None
    assert muted_by([one, two], {"kind": "burn", "facts": {"rule": "burn fast", "payer": {"user": "bob"}}}) is None
    assert mutes(ledger, now_ns=now + HOUR) == [two]
    unmute(ledger, two.id, "ben", now_ns=now + HOUR)
    assert mutes(ledger, now_ns=now + HOUR) == []
    assert [each.removed_by for each in mutes(ledger, history=True)] == [None, "ben"]
    with pytest.raises(ConfigError, match="no mute 2 is in force"):
        unmute(ledger, two.id, "ben", now_ns=now + HOUR)
    with pytest.raises(ConfigError, match="ends in the future"):
        mute(ledger, kind="spike", author="ann", until_ns=now, now_ns=now)


def test_the_thread_that_delivers_looks_at_the_rules(url: str) -> None:
    told_of: list[Alert] = []
    ledger = open_ledger(url)
    story = Story(ledger)
    now = time.time_ns()
    story.calls(now - 20 * MINUTE, now - 15 * MINUTE, MINUTE, "0", model="gpt-5", failed=True)
    story.write()
    ledger.close()
    with Guard(url, [], [told_of.append], alert_rules=["retries 5/1h"]):
        until(lambda: told_of)
    assert [alert.title for alert in told_of] == ["5 requests of gpt-5 failed in 1h"]
