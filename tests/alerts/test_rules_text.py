"""The language of alert rules, from lines and from a file."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from costguard import ConfigError
from costguard.alerts.rules import Rule, read_rules, rules_of_file


@pytest.mark.parametrize(
    "line",
    [
        "refusals 10/1h", "refusals 5/day per user where environment=production", "projected", "projected 120%",
        "burn fast", "burn slow", "burn 10x 30m/6h min $5.00", "spike 3x",
        "spike 2.5x 3h min $20.00 days 5 per feature",
        "call over $2.00", "request over $5.00", "payer over $20.00/day",
        "payer over $3.00/hour per user,feature tz Europe/Berlin", "new model", "unattributed over 10%/day",
        "unattributed over 10%/week per team", "retries 50/15m share 30% per feature", "retries 50/15m per all",
        "input 3x min 50 calls per feature", "journal over 64MB", "digest daily 09:00",
        "digest weekly friday 08:30 tz Europe/Berlin named 'Friday news'",
    ],
)  # fmt: skip
def test_a_rule_prints_as_it_is_read(line: str) -> None:
    assert str(Rule.parse(line)) == line
    assert Rule.parse(str(Rule.parse(line))) == Rule.parse(line)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "it is empty"),
        ("brun fast", "'brun' is not one of refusals, projected, burn"),
        ("burn", "write burn fast, burn slow, or a factor and two spans"),
        ("burn 2x 6h/30m", "the shorter span comes first"),
        ("spike", "a factor is missing; write spike 3x"),
        ("spike 0x", "factor '0' is not a number above zero"),
        ("spike 3x 1h 2h", "'2h' is too much for spike"),
        ("spike 3x per", "'per' is the last word; say what"),
        ("spike 3x days 60", "days 60: 28 at most"),
        ("call over $2 now", "write call over $2"),
        ("call over $x", "amount '$x' is not an amount of USD"),
        ("payer over $20", "the window is missing"),
        ("payer over $20/7d", "window '7d' is not one of hour, day, week, month"),
        ("refusals 10/7q", "span '7q' must be one such as 15m"),
        ("refusals ten/1h", "refusals 'ten' is not a whole number above zero"),
        ("unattributed over 10/day", "share '10' is not a percentage"),
        ("digest", "write digest daily 09:00"),
        ("digest daily 25:00", "'25:00' is no time of day"),
        ("digest daily tz Nowhere", "time zone 'Nowhere' is not known"),
        ("journal over 3", "size '3' is not one such as 64MB"),
        ("payer over $20/day where user", "where 'user' is not tag=value"),
        ("digest daily named 'x", "No closing quotation"),
    ],
)
def test_what_cannot_be_read_is_named_with_the_way_out(line: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Rule.parse(line)
    assert said in str(caught.value)
    assert repr(line) in str(caught.value)


def test_a_rule_may_be_a_value() -> None:
    rule = Rule("call", amount=Decimal(2))
    assert rule == Rule.parse("call over $2")
    assert read_rules([rule, "call over $2", "burn fast"]) == (rule, Rule.parse("burn fast"))


def test_a_single_rule_is_no_list() -> None:
    with pytest.raises(ConfigError, match="alert_rules must be a list"):
        read_rules("burn fast")


def test_a_file_has_rules_beside_budgets(tmp_path: Path) -> None:
    file = tmp_path / "costguard.toml"
    file.write_text('[[budget]]\nrule = "$5/day"\n\n[alerts]\nrules = ["burn fast", "spike 3x"]\n', "utf-8")
    assert [str(rule) for rule in rules_of_file(file)] == ["burn fast", "spike 3x"]
    file.write_text('[[budget]]\nrule = "$5/day"\n', "utf-8")
    assert rules_of_file(file) == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[alerts]\nrule = []\n", r"\[alerts\] has 'rule'; write rules ="),
        ('[alerts]\nrules = "burn fast"\n', r"\[alerts\] has no list 'rules'"),
        ("[alerts]\nrules = [5]\n", "alert rule '5': '5' is not one of"),
        ("[alerts\n", "it is not TOML"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "costguard.toml"
    file.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=said) as caught:
        rules_of_file(file)
    assert "costguard.toml" in str(caught.value)
