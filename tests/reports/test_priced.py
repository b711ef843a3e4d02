from __future__ import annotations

from decimal import Decimal

from costguard.events import Entry
from costguard.ledger.base import Ledger
from costguard.money import to_nanos
from costguard.pricing.book import PriceBook
from costguard.pricing.usage import Usage
from costguard.reports import explain, spend
from costguard.reports.priced import NEWEST, priced
from costguard.tags import Tags
from tests.reports.scenes import at, call_id, ns, rates, spent


def test_the_last_call_of_a_model_that_is_seldom_used_is_found(store: Ledger) -> None:
    seldom = rates("o1", input=10, output=40)
    spent(store, "2026-10-01 10:00", priced=seldom, model="o1")
    for _ in range(NEWEST + 1):
        spent(store, "2026-11-22 10:00", priced=rates())
    book = PriceBook({"openai/o1": {"input": "0.02", "output": "0.04"}})
    found = {each.model: each for each in priced(store, book, now_ns=ns("2026-11-22 12:00")).models}
    assert (found["o1"].then, found["o1"].state) == (
        seldom.receipt(Usage(input_tokens=100, output_tokens=20)).cost,
        "changed",
    )


def test_what_was_charged_for_lost_leases_is_no_call_and_told_apart(store: Ledger) -> None:
    moment = ns("2026-11-22 10:00")
    spent(store, "2026-11-22 10:00", cost="1", tags={"user": "alice"})
    lost = Entry(
        call_id(moment), moment, "costguard", "", "lease", to_nanos(Decimal(3)), status="lost", tags=Tags(user="alice")
    )  # fmt: skip
    store.settle(lost, None)
    for by in ("user", "provider", "operation", ""):
        report = spend(store, by, since="1d", now=at("2026-11-22 12:00"))
        assert (report.total.cost, report.lost_leases) == (1, 3)
    assert spend(store, "user", where={"user": "alice"}).lost_leases == 3
    assert spend(store, "user", where={"user": "bob"}).lost_leases == 0
    assert spend(store, "user", where={"provider": "openai"}).lost_leases == 0
    assert explain(store, since="1d", now=at("2026-11-22 12:00")).total.change == 1
