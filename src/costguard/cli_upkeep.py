"""`costguard migrate | check | retain`: the upkeep of a ledger."""

from __future__ import annotations

import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from costguard.cli_progress import busy, progress
from costguard.cli_rules import iso, minute, plain
from costguard.cli_store import FAILED, Json, Store, ledger_at, one_line, show, show_json, show_table
from costguard.errors import ConfigError
from costguard.ledger.migrate import HEAD
from costguard.units import Unit, from_rest, show_amount

if TYPE_CHECKING:
    from costguard.ledger.audit import Audit
    from costguard.ledger.rollups_upkeep import RollupAudit


def migrate(*, store: Store = None, as_json: Json = False) -> None:
    """Create the ledger's tables, or bring them up to date."""
    with one_line():
        with busy("bringing the schema up to date"), ledger_at(store, make=True) as ledger:
            url = ledger.url
        if as_json:
            show_json({"store": url, "schema": HEAD})
        else:
            show(f"{url} is up to date")


def check(
    *,
    repair: Annotated[bool, typer.Option("--repair", help="Make the balances what the rows add up to")] = False,
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild", help="Make the rollups, which reports read, what the entries add up to"),
    ] = False,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Compare balances, and rollups, with the entries and holds they are made of.

    Exit code 1: they differ, and were not made what the rows say.
    """
    from costguard.ledger.audit import audit
    from costguard.ledger.rollups_upkeep import audit_rollups

    with one_line(), ledger_at(store) as ledger:
        with busy("comparing balances"):
            found = audit(ledger, repair=repair)
        with progress("comparing rollups") as tell:
            rollups = audit_rollups(ledger, rebuild=rebuild, progress=tell)
        if as_json:
            show_json(_as_json(found) | {"ok": found.ok and rollups.ok, "rollups": asdict(rollups)})
        else:
            _show(found)
            _show_rollups(rollups)
    if not (found.ok and rollups.ok):
        raise typer.Exit(FAILED)


def _show_rollups(found: RollupAudit) -> None:
    if found.differences:
        differ = f"{_count(found.differences, 'line')} of the rollups of {_count(found.differing_days, 'day')} differed"
        mended = "and were made what the entries say" if found.rebuilt else "from the entries; mend with: --rebuild"
        show(f"{differ}, {mended}" if found.rebuilt else f"{differ} {mended}")
    elif found.days:
        show(f"rollups of {_count(found.days, 'day')}: all add up")


def _show(found: Audit) -> None:
    lines = []
    for each in found.differences:
        unit = cast("Unit", each.unit)
        amounts = (each.spent_recorded, each.spent_entries, each.held_recorded, each.held_rows)
        lines.append((each.payer, each.budget, *[show_amount(from_rest(amount, unit), unit) for amount in amounts]))
    looked_at = f"{_count(found.balances, 'balance')} and {_count(found.holds, 'hold')}"
    none = f"{looked_at}: all add up"
    show_table(("payer", "budget", "spent", "by entries", "held", "by holds"), lines, none=none)
    if lines:
        differ = f"{len(lines)} of {looked_at.partition(' and ')[0]} differ{'s' if len(lines) == 1 else ''}"
        show(f"{differ}, and were made what the rows say" if found.repaired else f"{differ}; mend with: --repair")
    if found.expired:
        leases = sum(each.lease for each in found.expired)
        kinds = f" ({_count(leases, 'lease')})" if leases else ""
        show(f"{_count(len(found.expired), 'hold')} past the expiry{kinds}: charged as lost by whoever looks next")
    if found.kept_from_ns is not None:
        show(
            f"Windows that began before {minute(found.kept_from_ns)}, from when on all entries are kept, may hide more"
        )


def _as_json(found: Audit) -> dict[str, Any]:
    differences = []
    for each in found.differences:
        unit = cast("Unit", each.unit)
        amounts = {
            name: plain(from_rest(getattr(each, name), unit), unit)
            for name in ("spent_recorded", "spent_entries", "held_recorded", "held_rows")
        }
        differences.append({"payer": each.payer, "budget": each.budget, "unit": unit, "key": each.key} | amounts)
    return {
        "ok": found.ok,
        "repaired": found.repaired,
        "balances": found.balances,
        "holds": found.holds,
        "differences": differences,
        "expired": [
            {"call_id": each.call_id, "tags": dict(each.tags), "lease": each.lease, "expires": iso(each.expires_ns)}
            for each in found.expired
        ],
        "kept_from": None if found.kept_from_ns is None else iso(found.kept_from_ns),
    }


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def retain(
    *,
    before: Annotated[str, typer.Option(metavar="DATE", help="Entries from before it (UTC) are forgotten for good")],
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Forget old entries, for good, and what was told of them; balances stay. PostgreSQL forgets whole months."""
    with one_line():
        moment = _date(before)
        with busy("forgetting"), ledger_at(store) as ledger:
            count = ledger.retain(int(moment.timestamp()) * 10**9)
        if as_json:
            show_json({"before": f"{moment:%Y-%m-%d}", "forgotten": count})
        else:
            show(f"{count:,} entr{'y' if count == 1 else 'ies'} from before {moment:%Y-%m-%d} forgotten")


def _date(text: str) -> datetime:
    try:
        moment = datetime.strptime(text.strip(), "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise ConfigError(f"--before {text!r} is not a date; write it as 2026-01-01") from None
    if not 0 <= moment.timestamp() <= time.time():
        raise ConfigError(f"--before {text} must be a day between 1970 and today: what was not yet is not forgotten")
    return moment
