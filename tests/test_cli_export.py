"""`costguard export`: each format read back by a reader of its own, and compared with the ledger."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from pyarrow import parquet
from typer.testing import CliRunner, Result

from costguard.adjustment import Adjustment
from costguard.call import new_call_id
from costguard.cli import app
from costguard.errors import ConfigError, MissingExtra
from costguard.events import Entry, Status
from costguard.ledger.base import LEASE, Ledger
from costguard.ledger.opening import open_ledger
from costguard.money import from_nanos
from costguard.pricing.book import PriceBook
from costguard.pricing.reported import reported_rates
from costguard.pricing.usage import NO_USAGE, Usage
from costguard.reports import export_focus, export_rows
from costguard.reports.csv_cells import TRIGGERS, cell, csv_lines, harmless
from costguard.reports.export import export
from costguard.tags import Tags
from tests.alerts.crossings import record

NOW = time.time_ns()
MINUTE = 60 * 10**9
HOSTILE = (
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    '=HYPERLINK("http://x","y")',
    "  =2",
    "a,b",
    'q"uote',
    "漢字",
    "\u202eevil",
)


def entry(
    usage: Usage = NO_USAGE,
    *,
    model: str = "gpt-4o",
    provider: str = "openai",
    nanos: int | None = -1,
    status: Status = "ok",
    reported: bool = False,
    context: tuple[tuple[str, str], ...] = (),
    ago: int = MINUTE,
    **tags: str,
) -> Entry:
    """As the guard makes it: `nanos` -1 is what the rates say."""
    at = NOW - ago
    rates = PriceBook().rates(provider, model, at, context)
    if reported:
        rates = reported_rates(provider, model, rates)
    if nanos == -1:
        nanos = None if rates is None else rates.nanos(usage)
    return Entry(
        new_call_id(at), at, provider, model, "chat", nanos, usage, rates if nanos is not None else None, status,
        tags=Tags(tags), duration_ns=1_500_000_000,
    )  # fmt: skip


@pytest.fixture
def ledger() -> Ledger:
    """Three kinds of price, one call without, one that was lost, one that its provider priced, and a lost lease."""
    ledger = open_ledger("memory://")
    for made in (
        entry(Usage(input_tokens=12_345, cache_read_tokens=10_001, output_tokens=777), user="alice", feature="chat"),
        entry(Usage(input_tokens=7, output_tokens=1), model="gpt-4o-mini", user="bob", ago=2 * MINUTE),
        entry(Usage(input_tokens=100, output_tokens=9), model="made-up-1", nanos=None, ago=3 * MINUTE),
        entry(NO_USAGE, nanos=123_456, status="lost", ago=4 * MINUTE),
        entry(Usage(input_tokens=1000, output_tokens=10), nanos=9_999_999, reported=True, ago=5 * MINUTE),
        entry(NO_USAGE, nanos=0, status="error", ago=6 * MINUTE),
        entry(
            Usage(input_tokens=1000, output_tokens=10), context=(("service_tier", "flex"),), model="gpt-5", ago=MINUTE
        ),
        Entry(new_call_id(NOW - MINUTE), NOW - MINUTE, LEASE[0], "lease", LEASE[1], 5_000, status="lost"),
    ):
        ledger.settle(made, None)
    return ledger


def written(ledger: Ledger, format: str = "csv", **more: object) -> bytes:
    out = io.BytesIO()
    export(ledger, out, format, **more)  # type: ignore[arg-type]
    return out.getvalue()


def rows_of(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


def test_csv_has_each_call_once_with_exact_amounts_and_no_lost_lease(ledger: Ledger) -> None:
    rows = rows_of(written(ledger))
    calls = [one for one in ledger.entries({}) if one.provider != LEASE[0]]
    assert [row["call_id"] for row in rows] == [one.call_id for one in calls]
    assert [row["cost"] for row in rows] == ["" if one.cost is None else f"{one.cost:f}" for one in calls]
    alice = next(row for row in rows if row["user"] == "alice")
    assert (alice["input_tokens"], alice["cache_read_tokens"], alice["feature"]) == ("12345", "10001", "chat")
    assert json.loads(alice["tags"]) == {"feature": "chat", "user": "alice"}
    assert json.loads(alice["buckets"]) == {"input": 2344, "cache_read": 10001, "output": 777}
    assert alice["at"].endswith("Z")


def test_json_lines_have_the_same_columns_with_amounts_as_strings(ledger: Ledger) -> None:
    lines = [json.loads(line) for line in written(ledger, "jsonl").splitlines()]
    assert [tuple(line) for line in lines] == [export_rows.COLUMNS] * 7
    assert sum(Decimal(line["cost"]) for line in lines if line["cost"]) == from_nanos(ledger.sums((), {})[0].cost)
    assert [line["cost"] for line in lines if line["model"] == "made-up-1"] == [None]


def test_parquet_keeps_amounts_exact_and_moments_in_utc(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "costs.parquet"
    path.write_bytes(written(ledger, "parquet"))
    table = parquet.read_table(path)
    assert table.column_names == list(export_rows.COLUMNS)
    costs = [cost for cost in table["cost"].to_pylist() if cost is not None]
    assert sum(costs) == from_nanos(ledger.sums((), {})[0].cost)
    assert table["at"].to_pylist() == [one.at for one in ledger.entries({}) if one.provider != LEASE[0]]
    assert dict(table["tags"].to_pylist()[table["user"].to_pylist().index("alice")])["feature"] == "chat"


def test_the_rows_of_focus_are_as_the_specification_wants_them_and_add_up_to_each_call(ledger: Ledger) -> None:
    focus = export_focus.Focus({None: "acct-1"})
    by_call: dict[str, Decimal] = {}
    for one in ledger.entries({}):
        if one.provider == LEASE[0]:
            continue
        for row in focus.rows(one):
            assert export_focus.faults(row) == []
            assert tuple(row) == export_focus.COLUMNS
            by_call[row["x_CallId"]] = by_call.get(row["x_CallId"], Decimal(0)) + row["BilledCost"]
    recorded = {one.call_id: one.cost for one in ledger.entries({}) if one.nanos and one.provider != LEASE[0]}
    assert by_call == recorded
    assert focus.unpriced == 1


def test_focus_has_a_row_for_each_line_of_the_receipt(ledger: Ledger) -> None:
    rows = rows_of(written(ledger, "focus", accounts={"openai": "org-1", None: "rest"}))
    alice = {row["SkuMeter"]: row for row in rows if json.loads(row["Tags"] or "{}").get("user") == "alice"}
    assert set(alice) == {"Input Tokens", "Cache Read Tokens", "Output Tokens"}
    output = alice["Output Tokens"]
    assert Decimal(output["ListUnitPrice"]) * Decimal(output["PricingQuantity"]) == Decimal(output["ListCost"])
    assert (output["PricingUnit"], output["ConsumedQuantity"], output["ConsumedUnit"]) == (
        "1000000 Tokens",
        "777",
        "Tokens",
    )
    assert output["BillingAccountId"] == "org-1"
    assert output["BillingPeriodStart"][8:] == "01T00:00:00Z"
    assert output["ChargePeriodStart"] < output["ChargePeriodEnd"]
    assert (output["ServiceCategory"], output["ServiceSubcategory"]) == ("AI and Machine Learning", "Generative AI")


def test_what_has_no_quantity_is_an_adjustment_in_focus(ledger: Ledger) -> None:
    rows = rows_of(written(ledger, "focus", accounts={None: "a"}))
    adjustments = {row["ChargeDescription"]: row for row in rows if row["ChargeCategory"] == "Adjustment"}
    assert set(adjustments) == {
        "Charge without a reported usage: openai/gpt-4o",
        "Charged by the provider beside its listed prices: openai/gpt-4o",
    }
    assert {row["PricingQuantity"] for row in adjustments.values()} == {""}
    lost = adjustments["Charge without a reported usage: openai/gpt-4o"]
    assert lost["BilledCost"] == lost["ListCost"] == "0.000123456"


def test_processing_with_a_price_of_its_own_is_another_sku_price(ledger: Ledger) -> None:
    rows = [row for row in rows_of(written(ledger, "focus", accounts={None: "a"})) if row["x_Model"] == "gpt-5"]
    assert {row["SkuPriceId"] for row in rows} == {
        "openai/gpt-5/input/service_tier=flex", "openai/gpt-5/output/service_tier=flex",
    }  # fmt: skip
    assert {row["SkuPriceDetails"] for row in rows} == {'{"x_ServiceTier":"flex"}'}


def test_a_row_that_breaks_the_specification_is_found() -> None:
    focus = export_focus.Focus({None: "a"})
    (row, _) = focus.rows(entry(Usage(input_tokens=5, output_tokens=5)))
    assert export_focus.faults(row) == []
    for name in export_focus.MANDATORY:
        assert export_focus.faults({key: value for key, value in row.items() if key != name})
    assert export_focus.faults({**row, "ListCost": row["ListCost"] + 1}) == [
        "ListUnitPrice x PricingQuantity is not ListCost"
    ]
    for wrong in ({"ChargeCategory": "Fee"}, {"BilledCost": 1.5}, {"PricingUnit": None}, {"BillingAccountId": ""}):
        assert export_focus.faults({**row, **wrong})


def test_a_provider_without_a_billing_account_is_named() -> None:
    ledger = open_ledger("memory://")
    ledger.settle(entry(Usage(input_tokens=5, output_tokens=5)), None)
    with pytest.raises(ConfigError, match="--billing-account openai=ID"):
        written(ledger, "focus", accounts={"anthropic": "x"})


@pytest.mark.parametrize("text", HOSTILE)
def test_no_cell_is_a_formula(text: str) -> None:
    ledger = open_ledger("memory://")
    record(ledger, "1", user=text, feature="x", at_ns=NOW - MINUTE)
    for format_ in ("csv", "focus"):
        for row in rows_of(written(ledger, format_, accounts={None: text})):
            for value in row.values():
                assert not value.lstrip().startswith(tuple("=+@")), value
                assert not value.startswith("-"), value
    assert json.loads(written(ledger, "jsonl").decode())["user"] == Tags(user=text)["user"]


@pytest.mark.parametrize(
    "text", ["x;=1+1", "x; =cmd|' /C calc'!A0;", 'x;"=1+1;', "x\t@SUM(1)", "x\n-1", "x\r\n+1", "a;b;=c"]
)
def test_no_cell_is_a_formula_where_spreadsheets_part_cells_by_semicolons(text: str) -> None:
    """As Excel does where the comma is in numbers, such as in Germany."""
    ledger = open_ledger("memory://")
    record(ledger, "1", user=text, feature="x", at_ns=NOW - MINUTE)
    for format_ in ("csv", "focus"):
        made = written(ledger, format_, accounts={None: "a"})
        for line in re.split(r"[;\t\r\n]", made.decode()):
            assert not line.lstrip(' "').startswith(tuple("=+-@")), line
        assert json.loads(rows_of(made)[0]["Tags" if format_ == "focus" else "tags"])["user"] == text


def test_cells_are_only_changed_where_they_must_be() -> None:
    assert harmless("alice@example.com") == "alice@example.com"
    assert harmless("") == ""
    assert [harmless(f"{trigger}x") for trigger in TRIGGERS] == [f"'{trigger}x" for trigger in TRIGGERS]
    assert harmless("a\0b\ud800") == "a�b?"
    assert [cell(value) for value in (None, True, 3, Decimal("-1E-9"), "-x")] == [
        "",
        "true",
        "3",
        "-0.000000001",
        "'-x",
    ]
    assert "".join(csv_lines(["a"], [["x\ny"], ['"']])) == 'a\r\n"x\ny"\r\n""""\r\n'


@pytest.mark.parametrize("format_", ["csv", "jsonl", "parquet", "focus"])
def test_what_cannot_be_encoded_does_not_end_an_export(format_: str) -> None:
    ledger = open_ledger("memory://")
    record(ledger, "1", user="half\ud800", at_ns=NOW - MINUTE)
    assert written(ledger, format_, accounts={None: "a"})


def test_pages_have_each_entry_once_whatever_shares_a_moment() -> None:
    ledger = open_ledger("memory://")
    for place in range(25):
        record(ledger, "1", at_ns=NOW - (place // 10) * MINUTE)
    pages = list(export_rows.pages(ledger, {}, since_ns=None, until_ns=None, size=4))
    assert len({one.call_id for page in pages for one in page}) == sum(map(len, pages)) == 25


def test_an_export_takes_no_more_memory_for_more_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_rows, "PAGE", 200)
    ledger = open_ledger(f"sqlite:///{tmp_path / 'costs.db'}")
    peaks = []
    for _ in range(2):
        ledger.settle_all([(entry(nanos=1, ago=place * 10**6, user="alice"), None) for place in range(1_000)])
        export(ledger, _Nowhere(), "csv")  # type: ignore[arg-type]  # what is loaded once
        tracemalloc.start()
        export(ledger, _Nowhere(), "csv")  # type: ignore[arg-type]
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    ledger.close()
    assert peaks[1] < peaks[0] * 1.2, peaks


class _Nowhere:
    def write(self, data: bytes) -> int:
        return len(data)


def test_without_pyarrow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"pip install 'llm-costguard\[export\]'"):
        written(open_ledger("memory://"), "parquet")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[str]:
    url = f"sqlite:///{tmp_path / 'costs.db'}"
    ledger = open_ledger(url)
    record(ledger, "1.25", user="alice", at_ns=NOW - MINUTE)
    record(ledger, None, user="bob", model="made-up-1", at_ns=NOW - 10 * 24 * 3600 * 10**9)
    ledger.close()
    return url


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_a_file_is_whole_or_not_there(store: str, tmp_path: Path) -> None:
    path = tmp_path / "costs.csv"
    path.write_text("before")
    wrong = run("export", "focus", "-o", str(path), "--billing-account", "anthropic=x", "--store", store)
    assert wrong.exit_code == 2
    assert path.read_text() == "before"
    assert run("export", "csv", "-o", str(path), "--store", store).exit_code == 0
    assert len(rows_of(path.read_bytes())) == 2
    assert [each.name for each in tmp_path.iterdir() if each.name.endswith(".part")] == []


def test_what_was_written_is_told_on_stderr(store: str, tmp_path: Path) -> None:
    path = tmp_path / "focus.csv"
    result = run("export", "focus", "-o", str(path), "--billing-account", "org-1", "--store", store)
    assert "1 call without a price left out" in result.stderr
    told = run("export", "jsonl", "--since", "24h", "--json", "--store", store)
    assert json.loads(told.stderr)["rows"] == 1
    assert json.loads(told.stdout)["user"] == "alice"


def test_an_export_goes_through_a_pipe(store: str) -> None:
    command = [sys.executable, "-m", "costguard.cli", "export", "parquet", "--where", "user=alice", "--store", store]
    done = subprocess.run(command, capture_output=True, check=True)
    assert parquet.read_table(io.BytesIO(done.stdout))["user"].to_pylist() == ["alice"]


def test_a_device_takes_an_export(store: str) -> None:
    assert run("export", "csv", "-o", "/dev/null", "--store", store).exit_code == 0
    full = run("export", "csv", "-o", "/dev/full", "--store", store)
    assert full.exit_code == 1, full.output
    assert "cannot be written" in full.stderr


def test_a_call_that_got_its_price_later_is_in_focus_and_not_told_as_missing() -> None:
    usage, rates = Usage(input_tokens=5), PriceBook().rates("openai", "gpt-4o", NOW)
    assert rates is not None
    bare, bare_still = entry(usage, nanos=None), entry(usage, nanos=None)
    later = Adjustment.of(bare, 0, rates.nanos(usage), rates, first_price=True, reason="a price was given")
    focus = export_focus.Focus({None: "a"})
    (row,) = [row for one in (later, bare, bare_still) for row in focus.rows(one)]
    assert (row["x_CallId"], row["BilledCost"]) == (bare.call_id, from_nanos(rates.nanos(usage)))
    assert focus.unpriced == 1
