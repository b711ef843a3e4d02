"""`costguard prices show | check | sources`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from costguard import Guard
from costguard.call import Call
from costguard.cli import app
from costguard.events import Outcome
from costguard.pricing.usage import Usage
from tests.pricing.lists import OURS, ListServer, one_price

USAGE = Usage.of({"input": 1_000_000, "output": 100_000})


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COSTGUARD_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("COSTGUARD_STORE", "COSTGUARD_PRICES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def ours(tmp_path: Path) -> str:
    path = tmp_path / "prices.toml"
    path.write_bytes(OURS)
    return str(path)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ("prices", *arguments))


def told(*arguments: str, code: int = 0) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_the_prices_of_a_model_are_shown_by_bucket_size_and_processing() -> None:
    result = run("show", "gpt-5.4", "--at", "2026-11-04")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "openai/gpt-5.4"
    assert lines[1].startswith("from genai-prices ")
    head = next(line for line in lines if "bucket" in line)
    assert all(word in head for word in ("USD", "above 272,000", "batch", "flex", "priority"))
    assert next(line for line in lines if line.strip().startswith("input")).split()[1:] == [
        "M", "tokens", "2.5", "5", "1.25", "2.5", "1.25", "2.5", "5",
    ]  # fmt: skip
    assert "also at azure" in result.stdout


def test_prices_for_programs_are_strings_with_their_bounds() -> None:
    shown = told("show", "deepseek/deepseek-v4-pro", "--at", "2026-11-06T02:00")
    assert (shown["provider"], shown["matched"], shown["priced"]) == ("deepseek", "deepseek-v4-pro", True)
    assert shown["prices"]["input"] == "1.32"
    assert shown["valid_until"] == "2026-11-06T04:00:00Z"
    assert (
        told("show", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "--provider", "bedrock")["prices"]["input"]
        == "3.3"
    )
    assert told("show", "whisper-1")["prices"]["seconds"] == "0.0001"


def test_a_model_without_a_price_is_shown_with_names_like_it() -> None:
    result = run("show", "gpt-6-sool")
    assert result.exit_code == 1
    assert result.stdout.startswith("no price is known for gpt-6-sool; names like it: gpt-6-sol")
    assert told("show", "openai/gpt-6-sool", code=1)["near"][0] == "gpt-6-sol"


def test_price_lists_given_come_first(ours: str) -> None:
    shown = told("show", "acme/large", "--prices", ours, "--at", "2026-11-04T12:00")
    assert shown["prices"] == {"input": "2.5", "cache_read": "0.25", "output": "10", "web_searches": "0.01"}
    assert shown["above"][0]["tokens"] == 100_000
    assert shown["processing"]["batch"]["prices"]["output"] == "5"
    assert shown["valid_until"] == "2026-11-04T16:30:00Z"
    assert shown["context_window"] == 200_000


def test_an_address_is_fetched_before_it_is_shown() -> None:
    with ListServer(one_price("7")) as server:
        assert told("show", "acme/m", "--prices", server.url)["prices"]["input"] == "7"
        server.status = 500
        result = run("show", "acme/m", "--prices", server.url)
    assert result.exit_code == 2
    assert "500" in result.stderr
    assert "secret" not in result.output


def test_the_sources_are_listed_in_their_order_with_their_ages(ours: str, tmp_path: Path) -> None:
    old = tmp_path / "old.json"
    old.write_bytes(one_price("1"))
    rows = told("sources", "--prices", ours, "--prices", str(old))
    assert [row["source"].split()[0] for row in rows] == ["prices.toml", "old.json", "genai-prices"]
    assert (rows[0]["shape"], rows[0]["entries"], rows[0]["dated"]) == ("costguard", 1, "2026-11-20")
    os.utime(old, (1_700_000_000, 1_700_000_000))
    result = run("sources", "--prices", str(old))
    assert result.exit_code == 1
    assert "too old" in result.stdout


def test_an_address_that_cannot_be_fetched_is_listed_as_such() -> None:
    with ListServer() as server:
        server.status = 404
        result = run("sources", "--prices", server.url)
    assert result.exit_code == 1
    assert "not fetched" in result.stdout
    assert "secret" not in result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "gpt-4o", "--prices", "/nowhere.toml"), "/nowhere.toml"),
        (("show", "gpt-4o", "--at", "yesterday"), "yesterday"),
        (("show", "deepseek/deepseek-chat", "--at", "9999-12-31"), "between 1970 and 2200"),
        (("check",), "--store"),
    ],
)
def test_what_cannot_be_read_is_one_line_and_exit_code_2(arguments: tuple[str, ...], words: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_every_model_of_the_ledger_is_checked(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'costs.db'}"
    mine = {"acme/m": {"input": "1", "output": "1"}, "acme/text": {"input": "1", "output": "1"}}
    with Guard(store, prices=mine, engine="direct") as guard:
        for provider, model, usage in (
            ("openai", "gpt-4o", USAGE),
            ("openai", "gpt-6-sool", USAGE),
            ("acme", "m", USAGE),
            ("acme", "text", Usage.of({"input": 10, "input_audio": 10})),
        ):
            call = Call(provider, model)
            guard.reserve(call)
            guard.settle(call, Outcome("ok", usage))
    prices = tmp_path / "prices.json"
    prices.write_text(json.dumps({"acme/m": {"input": "2", "output": "1"}, "acme/text": {"input": "1", "output": "1"}}))
    checked = told("check", "--store", store, "--prices", str(prices), code=1)
    assert [(each["model"], each["state"]) for each in checked["models"]] == [
        ("gpt-6-sool", "unpriced"), ("text", "partial"), ("m", "changed"), ("gpt-4o", "ok"),
    ]  # fmt: skip
    by_model = {each["model"]: each for each in checked["models"]}
    assert by_model["gpt-6-sool"]["near"][0] == "gpt-6-sol"
    assert by_model["gpt-6-sool"]["unpriced_calls"] == 1
    assert by_model["text"]["missing"] == ["input_audio"]
    assert (by_model["m"]["last_call_then"], by_model["m"]["last_call_now"]) == ("1.100000000", "2.100000000")
    result = run("check", "--store", store, "--prices", str(prices))
    assert result.exit_code == 1
    for words in ("openai/gpt-6-sool", "near: gpt-6-sol", "last call $1.10, now $2.10", "costguard reprice"):
        assert words in result.stdout


def test_a_reprice_does_not_hide_what_its_calls_used_and_has_no_price(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'costs.db'}"
    mine = {"acme/m": {"input": "1", "output": "1"}}
    with Guard(store, engine="direct") as guard:
        call = Call("acme", "m")
        guard.reserve(call)
        guard.settle(call, Outcome("ok", Usage.of({"input": 1_000_000, "web_searches": 2})))
        with Guard(guard.ledger, prices=mine) as later:
            assert later.reprice(dry_run=False, author="ann").written == 1
    prices = tmp_path / "prices.json"
    prices.write_text(json.dumps(mine))
    (checked,) = told("check", "--store", store, "--prices", str(prices), code=1)["models"]
    assert (checked["state"], checked["missing"], checked["calls"]) == ("partial", ["web_searches"], 1)


def test_a_ledger_whose_models_have_all_their_prices_is_fine(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'costs.db'}"
    with Guard(store, engine="direct") as guard:
        assert run("check", "--store", store).stdout.startswith("No calls.")
        call = Call("openai", "gpt-4o")
        guard.reserve(call)
        guard.settle(call, Outcome("ok", USAGE, context=(("service_tier", "priority"),)))
    checked = told("check", "--store", store)
    assert [each["state"] for each in checked["models"]] == ["ok"]
