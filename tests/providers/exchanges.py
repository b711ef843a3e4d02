"""Recorded exchanges of many providers, each through the SDK method that issued it, beside their ground truth.

`python -m tests.providers.exchanges` prints what matched by SDK, provider and API; `--options ~ragged` cuts the
bodies elsewhere, names of drivers take part of the SDKs, and COSTGUARD_EXCHANGES names another file. The recordings
are read in place, beside the repository; their ground truth was computed from the raw bytes without any SDK.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from functools import cache, partialmethod
from pathlib import Path
from types import ModuleType
from typing import Any

from costguard.events import Outcome
from costguard.money import to_nanos
from costguard.pricing.usage import Usage
from tests.providers.drivers import drivers, name_of
from tests.providers.recording import Recording

FOLDER = Path(__file__).parents[3] / "shared" / "exchanges"

FIELDS = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cached_read_tokens": "cache_read_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "cache_write_1h_tokens": "cache_write_1h_tokens",
    "reasoning_tokens": "reasoning_tokens",
    "audio_input_tokens": "audio_input_tokens",
    "audio_output_tokens": "audio_output_tokens",
    "image_input_tokens": "image_input_tokens",
    "image_output_tokens": "image_output_tokens",
}
TOOLS = {
    "web_search_requests": "web_searches",
    "web_search:search": "web_searches",
    "web_search_calls": "web_searches",
    "file_search": "file_searches",
    "code_interpreter": "code_executions",
}
"""Tools that are billed by the call, under one name each; Google's groundings are counted in more ways than one."""
STANDARD = frozenset((None, "", "default", "standard", "auto", "on_demand", "1", "1.0"))

Row = tuple[str, str, str, int, int, int]
"""SDK, provider, API, then how many matched, are ambiguous, differ."""


def file() -> Path:
    given = os.environ.get("COSTGUARD_EXCHANGES")
    return Path(given) if given else FOLDER / "dev.jsonl"


@cache
def replay() -> ModuleType:
    spec = importlib.util.spec_from_file_location("replay_server", FOLDER / "replay_server.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # It writes head and body apart, and each answer would wait 40 ms for a delayed acknowledgement.
    module.Handler.disable_nagle_algorithm = True
    # It looks twice a second whether it shall end.
    module._Server.serve_forever = partialmethod(module._Server.serve_forever, 0.02)
    return module


def serving() -> Any:
    """A server of the recordings, as a context manager."""
    return replay().Replay(file())


@cache
def records() -> list[dict[str, Any]]:
    return [json.loads(line) for line in file().read_text("utf-8").splitlines() if line.strip()]


def differences(record: dict[str, Any], told: Recording) -> list[str]:
    """How what was recorded differs from the ground truth, field by field."""
    truth = record["ground_truth"]
    outcomes = [outcome for _, outcome in told.settled]
    if truth["billable"] is False:
        return ["billed although it is free" for outcome in outcomes if outcome.billable]
    if truth["billable"] is None:
        if len(outcomes) > 1:
            return [f"settled {len(outcomes)} times"]
        # Of a sum over many answers only the totals are there.
        told_of = {name: count for name, count in truth.items() if count is not None}
        return [line for outcome in outcomes if outcome.usage for line in _counts(told_of, outcome.usage)]
    if len(outcomes) != 1:
        return [f"settled {len(outcomes)} times"]
    (outcome,) = outcomes
    if not outcome.billable:
        return ["not billed"]
    cost = truth.get("provider_cost")
    charged = outcome.reported if cost is None else to_nanos(Decimal(repr(cost["usd"])))
    found = [] if outcome.reported == charged else [f"the provider charged {charged}, not {outcome.reported}"]
    if not truth["usage_present"]:
        return found + _unreported(truth, outcome)
    usage = outcome.usage
    if usage is None or outcome.estimated:
        return [*found, "estimated although it was reported"]
    return found + _counts(truth, usage) + _facts(truth, outcome)


def _unreported(truth: dict[str, Any], outcome: Outcome) -> list[str]:
    usage = outcome.usage
    if outcome.status == "pending":
        return [] if outcome.estimated else ["not marked as estimated"]
    for name, bucket in (("audio_seconds", "seconds"), ("images", "images")):
        if truth.get(name):
            count = usage.buckets.get(bucket) if usage is not None else None
            return [] if count == truth[name] else [f"{name} {truth[name]} is {usage}"]
    if not outcome.estimated:
        return ["not marked as estimated"]
    return ["estimated as nothing"] if usage is None or not usage.buckets else []


def _counts(truth: dict[str, Any], usage: Usage) -> list[str]:
    found = []
    for name, bucket in (("search_units", "search_units"), ("pages", "pages")):
        if truth.get(name) and usage.buckets.get(bucket) != truth[name]:
            found.append(f"{name} {truth[name]} is {usage}")
    for name, bucket in TOOLS.items():
        count = (truth.get("server_tool_calls") or {}).get(name)
        if count and usage.buckets.get(bucket) != count:
            found.append(f"{name} {count} is {usage.buckets.get(bucket)}")
    if truth.get("audio_seconds") and usage.buckets == {"seconds": truth["audio_seconds"]}:
        # Billed by its length, whatever tokens are told beside it.
        return found
    for name, ours in FIELDS.items():
        if (truth.get(name) or 0) != getattr(usage, ours) and (name in truth or truth.get("billable")):
            found.append(f"{name} {truth.get(name)} is {getattr(usage, ours)}")
    return found


def _facts(truth: dict[str, Any], outcome: Outcome) -> list[str]:
    found = []
    tier = truth.get("service_tier")
    told = dict(outcome.context).get("service_tier")
    if told != _tier(tier):
        found.append(f"service_tier {tier} is {told}")
    responded = truth.get("model_responded")
    if responded and outcome.model != responded:
        found.append(f"model {responded} is {outcome.model}")
    others = truth.get("additional_model_usage")
    if bool(others) != bool(outcome.extra):
        found.append(f"other models {others} are {outcome.extra}")
    return found


def _tier(told: Any) -> str | None:
    name = None if told is None else str(told).lower().removeprefix("on_demand_")
    return None if name in STANDARD else name


def dying(record: dict[str, Any], told: Recording) -> list[str]:
    """What is wrong with how an exchange was recorded whose body broke off: it is estimated, and never free."""
    truth = record["ground_truth"]
    if truth["billable"] is not True or record["status"] >= 400:
        return []
    outcomes = [outcome for _, outcome in told.settled]
    if len(outcomes) != 1:
        return [f"settled {len(outcomes)} times"]
    (outcome,) = outcomes
    if not outcome.billable:
        return ["not billed"]
    if outcome.usage is not None and not outcome.usage.buckets:
        return ["estimated as nothing"]
    if outcome.status == "pending" or outcome.estimated:
        return []
    # The break came after the last word, or there was no break.
    return [f"{outcome.status}, not estimated: {line}" for line in differences(record, told)]


def retried(record: dict[str, Any], told: Recording) -> list[str]:
    """`differences`, after two failures that the SDK tried again: three attempts of one call."""
    # What was ordered before is one attempt, however often it is looked for.
    mine = record["ground_truth"]["billable"] is not None
    attempts = [call.attempts for call, outcome in told.settled if outcome.billable and mine]
    return differences(record, told) + [f"{count} attempts" for count in attempts if count != 3]


def _retries(driver: ModuleType, record: dict[str, Any]) -> bool:
    """Some SDKs never try again, some not with streams; their drivers say so."""
    return not hasattr(driver, "retries") or bool(driver.retries(record))


def verdict_by(options: str) -> Callable[[dict[str, Any], Recording], list[str]]:
    return dying if "cut" in options else retried if "fail" in options else differences


async def table(
    which: Iterable[ModuleType],
    *,
    options: str = "",
    among: Sequence[dict[str, Any]] | None = None,
) -> tuple[list[Row], list[str]]:
    """Rows to `show`, over the kinds of every driver, and a line on each difference."""
    counts: Counter[tuple[str, str, str, str]] = Counter()
    lines = []
    wrong = verdict_by(options)
    with serving() as server:
        for driver in which:
            clients = driver.Clients()
            for record in records() if among is None else among:
                if not driver.takes(record) or ("fail" in options and not _retries(driver, record)):
                    continue
                for kind in driver.KINDS:
                    key = (name_of(driver), record["provider"], record["api"])
                    # It counts the failures it was asked for by record.
                    server.fails.clear()
                    try:
                        found = wrong(record, await driver.run(clients, server, record, kind, options))
                    except Exception as error:
                        found = [f"{type(error).__name__}: {error}"]
                    ambiguous = record["ground_truth"].get("ambiguous")
                    verdict = "ambiguous" if ambiguous else "differing" if found else "matched"
                    counts[*key, verdict] += 1
                    if found:
                        lines.append(f"{verdict}: {record['id']} {kind} {' '.join(key)}: {'; '.join(found)}")
            await clients.close()
    keys = sorted({key[:3] for key in counts})
    return [
        (*key, counts[*key, "matched"], counts[*key, "ambiguous"], counts[*key, "differing"]) for key in keys
    ], lines


def show(rows: list[Row]) -> str:
    total = ("all", "", "", *(sum(row[at] for row in rows) for at in (3, 4, 5)))
    head = ("sdk", "provider", "api", "matched", "ambiguous", "differing")
    return "\n".join("{:<12} {:<17} {:<26} {:>8} {:>10} {:>10}".format(*row) for row in (head, *rows, total))


def untaken(which: Iterable[ModuleType]) -> str:
    """Records that no driver takes, by provider and API."""
    taking = list(which)
    left = Counter((r["provider"], r["api"]) for r in records() if not any(driver.takes(r) for driver in taking))
    return ", ".join(f"{provider} {api} {count}" for (provider, api), count in sorted(left.items()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="drivers; all if none is named")
    parser.add_argument("--options", default="", help="~ragged, ~cut3, ~fail429x2: see the server of the recordings")
    asked = parser.parse_args()
    chosen = drivers(*asked.names)
    found_rows, found_lines = asyncio.run(table(chosen, options=asked.options))
    print(show(found_rows), *found_lines, sep="\n")
    if not asked.names:
        print(f"taken by no driver: {untaken(chosen) or 'none'}")
