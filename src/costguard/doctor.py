"""What is wrong with a set-up, each finding with the way out: `costguard doctor`, and for an app's own health page.

    for finding in diagnose("sqlite:///costs.db").findings:
        print(finding.level, finding.text, finding.way_out)

It looks, and changes nothing: an old schema is told of, not migrated.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from costguard.doctor_app import Found, load, look_at_app
from costguard.doctor_finding import LEVELS, Finding, of_error
from costguard.doctor_ledger import look_at_alerts, look_at_budgets, look_at_calls
from costguard.doctor_setup import look_at_prices, look_at_sdks, look_at_telemetry
from costguard.doctor_store import look_at_journals, look_at_store
from costguard.errors import CostGuardError
from costguard.ledger.base import Ledger
from costguard.ledger.opening import open_ledger


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found, part by part."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Nothing is a problem; there may be warnings."""
        return not self.of("problem")

    def of(self, level: str) -> list[Finding]:
        return [finding for finding in self.findings if finding.level == level]

    def to_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            **{f"{level}s" if level != "ok" else "fine": len(self.of(level)) for level in LEVELS},
            "findings": [finding.to_json() for finding in self.findings],
        }


def diagnose(
    store: str | None = None,
    *,
    app: str | None = None,
    factory: bool = False,
    budget_file: Path | None = None,
    prices: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Diagnosis:
    """Look at a set-up from outside, or with `app` also from inside.

    store:       the URL that the app gives to its guard; without it that of the app's guard
    app:         "module:attribute" of a FastAPI, Starlette, Flask, ASGI or WSGI app; it is imported, so its guard opens
                 its store; `factory`: the attribute is a function that makes it
    budget_file: the app's, in TOML
    prices:      price lists as in `Guard(prices=...)`
    environment: variables of the servers; os.environ

    Never raises for what is wrong with the set-up: that is a finding.
    """
    around = os.environ if environment is None else environment
    findings: list[Finding] = []

    def look(about: str, work: Callable[[], Iterable[Finding]]) -> bool:
        try:
            # One by one: what was found before an error stays.
            for finding in work():
                findings.append(finding)  # noqa: PERF402 - as the comment says
        except CostGuardError as error:
            findings.append(of_error(about, error))
            return False
        return True

    look("SDKs", look_at_sdks)
    with load(app, factory=factory) as found:
        if app is not None:
            look("app", partial(look_at_app, found, around))
        if look("store", partial(look_at_store, store, found.store, around)):
            look("store", partial(_inside, store, found, budget_file, look))
    look("prices", partial(look_at_prices, prices))
    look("telemetry", partial(look_at_telemetry, around))
    return Diagnosis(tuple(findings))


def _inside(
    store: str | None, found: Found, file: Path | None, look: Callable[[str, Callable[[], Iterable[Finding]]], bool]
) -> Iterator[Finding]:
    """What the ledger itself says, where it can be read."""
    ledger, mine = _opened(store, found)
    if ledger is None:
        return
    try:
        if store or found.store:
            look("journals", partial(look_at_journals, store or found.store or ""))
        look("budgets", partial(look_at_budgets, ledger, file, [one for each in found.guards for one in each.budgets]))
        look("alerts", partial(look_at_alerts, ledger))
        look("calls", partial(look_at_calls, ledger))
    finally:
        if mine:
            ledger.close()
    yield from ()


def _opened(store: str | None, found: Found) -> tuple[Ledger | None, bool]:
    if store and not store.startswith("memory:"):
        return open_ledger(store), True
    return (found.guards[0].ledger, False) if found.guards and not store else (None, False)
