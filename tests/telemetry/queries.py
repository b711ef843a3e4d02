"""The PromQL in the files that costguard ships."""

from __future__ import annotations

import json
import re
from pathlib import Path


def panel_queries(dashboard: Path) -> list[tuple[str, str]]:
    """Pairs of a panel's title and a query, with Grafana's variables filled in."""
    found = []
    for panel in json.loads(dashboard.read_text("utf-8"))["panels"]:
        for target in panel["targets"]:
            query = target["expr"].replace("$__range", "5m").replace("$__rate_interval", "1m").replace("$job", ".*")
            found.append((panel["title"], query))
    return found


def rule_queries(rules: Path) -> list[tuple[str, str]]:
    """Pairs of an alert and its text. By hand: a parser of YAML is not among the tests' packages."""
    found = []
    for part in rules.read_text("utf-8").split("- alert: ")[1:]:
        name, _, rest = part.partition("\n")
        expression = re.search(r"expr: (>-\n)?(.*?)\n +(for|labels):", rest, re.DOTALL)
        assert expression, name
        found.append((name, " ".join(expression[2].split())))
    return found


def metrics_in(query: str) -> set[str]:
    return set(re.findall(r"\bcostguard_\w+", query))
