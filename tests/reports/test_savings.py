from __future__ import annotations

from decimal import Decimal

import pytest

from costguard.errors import ConfigError
from costguard.ledger.base import Ledger
from costguard.pricing.rates import Rates
from costguard.pricing.usage import Usage
from costguard.reports import cache_savings
from tests.reports.scenes import at, rates, spent

NOW = at("2026-11-22 12:00")


def cached(read: int, written: int = 0, whole: int = 1000) -> Usage:
    return Usage(input_tokens=whole, cache_read_tokens=read, cache_write_tokens=written)


def test_cached_reads_save_the_difference_to_plain_input_and_writes_cost_theirs(store: Ledger) -> None:
    priced = rates("claude", input=10, cache_read=1, cache_write_5m=12, output=40)
    spent(store, "2026-11-22 10:00", usage=cached(800, 100), priced=priced, model="claude")
    made = cache_savings(store, since="1d", now=NOW)
    assert (made.total.saved, made.total.written) == (Decimal("0.0000072"), Decimal("0.0000002"))
    assert made.total.net == Decimal("0.000007")
    assert made.total.exact
    assert made.to_json()["rows"] == [
        {
            "group": {"provider": "openai", "model": "claude"}, "saved": "0.0000072", "written": "0.0000002",
            "net": "0.000007", "cache_read_tokens": 800, "cache_write_tokens": 100, "input_tokens": 1000,
            "cache_share": "0.8000", "unknown_tokens": 0, "exact": True,
        }
    ]  # fmt: skip


def test_each_entry_counts_at_its_own_price(store: Ledger) -> None:
    spent(store, "2026-11-20 10:00", usage=cached(100), priced=rates(), tags={"feature": "chat"})
    spent(store, "2026-11-21 10:00", usage=cached(100), priced=rates(input=20, cache_read=2), tags={"feature": "chat"})
    spent(store, "2026-11-21 10:00", usage=cached(50), priced=rates(), tags={"feature": "mail"})
    made = cache_savings(store, "feature")
    assert [(row.group["feature"], row.saved) for row in made.rows] == [
        ("chat", Decimal("0.0000023")),
        ("mail", Decimal("0.00000025")),
    ]
    assert made.total.saved == Decimal("0.00000255")
    assert cache_savings(store, "feature", where={"feature": "mail"}).total.saved == Decimal("0.00000025")


def test_what_is_not_known_is_in_no_amount(store: Ledger) -> None:
    spent(store, "2026-11-22 10:00", usage=cached(300), cost="1")
    spent(store, "2026-11-22 10:00", usage=cached(500))
    made = cache_savings(store)
    assert (made.total.saved, made.total.unknown_tokens) == (0, 300)


def test_prices_that_rise_with_the_size_of_a_call_make_it_a_lower_bound(store: Ledger) -> None:
    priced = Rates("openai", "gpt-4o", "test", {"input": 10, "cache_read": 5}, tiers=((200_000, {"input": 20}),))
    spent(store, "2026-11-22 10:00", usage=cached(0), priced=priced)
    assert cache_savings(store).total.exact
    spent(store, "2026-11-22 10:00", usage=cached(100), priced=priced)
    assert not cache_savings(store).total.exact


def test_a_model_without_a_price_for_cached_reads_saves_nothing(store: Ledger) -> None:
    spent(store, "2026-11-22 10:00", usage=cached(300), priced=rates(input=10, output=40))
    assert cache_savings(store).total.net == 0


def test_an_empty_ledger_saved_nothing(store: Ledger) -> None:
    made = cache_savings(store, since="7d")
    assert (made.rows, made.total.net, made.to_json()["total"]["cache_share"]) == ((), 0, None)


def test_it_goes_by_no_time(store: Ledger) -> None:
    with pytest.raises(ConfigError, match="names a time"):
        cache_savings(store, "day")


def test_each_call_goes_by_the_price_that_it_had(store: Ledger) -> None:
    spent(store, "2026-11-20 10:00", usage=cached(100, 10), priced=rates())
    whole = cache_savings(store, "").total
    assert whole.exact
    spent(store, "2026-11-20 11:00", usage=cached(100), priced=rates(input=20, cache_read=2))
    after = cache_savings(store, "").total
    assert (after.saved - whole.saved, after.written, after.exact) == (Decimal("0.0000018"), whole.written, True)


def test_tokens_of_other_prices_that_may_be_among_the_cached_make_it_inexact(store: Ledger) -> None:
    hourly = rates("claude", input=10, cache_read=1, cache_write_5m=12, cache_write_1h=20, output=40)
    audio = rates("gpt-audio", input=10, cache_read=5, input_audio=50, output=40)
    spent(store, "2026-11-22 10:00", usage=cached(800), priced=hourly, model="claude")
    spent(store, "2026-11-22 10:00", usage=cached(0), priced=audio, model="gpt-audio")
    assert cache_savings(store).total.exact
    spent(store, "2026-11-22 10:00", usage=cached(0, 100), priced=hourly, model="claude")
    assert not cache_savings(store, "model", where={"model": "claude"}).total.exact
    spent(store, "2026-11-22 10:00", usage=cached(100), priced=audio, model="gpt-audio")
    assert not cache_savings(store, "model", where={"model": "gpt-audio"}).total.exact


def test_calls_without_a_price_are_left_out(store: Ledger) -> None:
    spent(store, "2026-11-22 10:00", usage=cached(300), priced=rates())
    spent(store, "2026-11-22 10:00", usage=cached(500), model="made-up")
    spent(store, "2026-11-22 09:00", usage=cached(300))
    total = cache_savings(store).total
    assert (total.saved, total.unknown_tokens, total.cache_read_tokens) == (Decimal("0.0000015"), 0, 300)
