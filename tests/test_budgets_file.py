"""Budgets in a TOML file."""

from __future__ import annotations

from pathlib import Path

import pytest

from costguard import Budget, ConfigError
from costguard.budget_file import read_budgets

WHOLE = """
# One line.
[[budget]]
rule = "$5/day per user"

# The same in keys, for some.
[[budget]]
limit = 50
window = "day"
per = "user"
for = { plan = "pro" }
name = "pro"

[[budget]]
limit = 0.25
window = "call"

[[budget]]
limit = "1_000_000"
unit = "tokens"
window = "30d"
per = ["team", "feature"]
where = { environment = "production" }
tz = "Europe/Berlin"
holds = "strict"
alerts = ["50%", "0.9", 1]
actions = { "80%" = "downgrade:gpt-4o-mini", "0.9" = "fit" }
observe = true

[[budget]]
limit = "$500"
window = "month"
actions = [["0.8", "fit"]]
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "budgets.toml"
    file.write_text(text, "utf-8")
    return file


def test_every_key_of_a_table_is_read(tmp_path: Path) -> None:
    assert read_budgets(written(tmp_path, WHOLE)) == [
        Budget.parse("$5/day per user"),
        Budget.parse('$50/day per user for plan=pro named "pro"'),
        Budget.parse("$0.25/call"),
        Budget.parse(
            "1000000 tokens/30d per team,feature where environment=production tz Europe/Berlin holds strict "
            "alerts at 50%, 90%, 100% then downgrade:gpt-4o-mini at 80%, fit at 90% observe"
        ),
        Budget.parse("$500/month then fit at 80%"),
    ]


def test_a_line_can_be_given_a_name_beside_it(tmp_path: Path) -> None:
    (budget,) = read_budgets(written(tmp_path, '[[budget]]\nrule = "$5/day holds strict"\nname = "all of us"'))
    assert budget == Budget.parse('$5/day holds strict named "all of us"')


def test_an_empty_file_has_no_budgets(tmp_path: Path) -> None:
    assert read_budgets(written(tmp_path, "")) == []


TABLE = "[[budget]]\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[budget]\n", "budgets.toml is not TOML: .*line 1"),
        ('limit = "5"', "has 'limit'; write each budget as a table"),
        ('[budget]\nrule = "$5/day"', "has a 'budget' that is no list of tables"),
        (TABLE + 'rule = "$5/day"\n' + TABLE + 'rule = "$5"', r"budgets.toml, budget 2: budget '\$5' has no window"),
        (TABLE + 'window = "day"', "budget 1: key 'limit' is missing"),
        (TABLE + 'limit = "5"\nwindo = "day"', "key 'windo' is not known; use limit, window"),
        (TABLE + "limit = true", "key 'limit' cannot be True; write limit = "),
        (TABLE + "limit = 5\nper = 5", "key 'per' cannot be 5"),
        (TABLE + "limit = 5\nobserve = 1", "key 'observe' cannot be 1; write observe = true"),
        (TABLE + "limit = 5\nfor = { plan = 5 }", "key 'for': the value of plan is 5"),
        (TABLE + 'limit = 5\nwindow = "fortnight"', "window 'fortnight'"),
        (TABLE + 'limit = 5\nactions = { "0.9" = "beg" }', "action 'beg' is not known"),
        (TABLE + 'rule = "$5/day"\nper = "user"', "key 'per' beside 'rule'"),
        (TABLE + 'rule = "$5/day"\n' + TABLE + 'rule = "$6/day"', "budget 2: .* counts the same as budget 1"),
    ],
)
def test_a_mistake_is_told_with_its_file_table_and_key(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read_budgets(written(tmp_path, text))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing.toml cannot be read: No such file"):
        read_budgets(tmp_path / "missing.toml")
    (tmp_path / "latin.toml").write_bytes(b'[[budget]]\nname = "\xff"')
    with pytest.raises(ConfigError, match=r"latin.toml is not TOML"):
        read_budgets(tmp_path / "latin.toml")
