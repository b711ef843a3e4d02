"""What is installed: SDKs whose calls are seen, price lists, telemetry packages.

No SDK is imported: their files are read for the functions that the wrappers take hold of.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path

from costguard.doctor_finding import Finding
from costguard.doctor_store import workers
from costguard.prices_shown import sources_of
from costguard.pricing.book import PriceBook
from costguard.providers.registry import ROWS
from costguard.providers.rows import Provider

_DISTRIBUTIONS = {"google.genai": "google-genai", "botocore": "boto3", "voyageai": "voyageai"}
"""Of packages whose distribution has another name."""

_PATCHERS = {
    "openlit": "OpenLIT", "traceloop": "OpenLLMetry", "langfuse": "Langfuse", "ddtrace": "Datadog",
    "openinference": "OpenInference", "logfire": "Logfire", "sentry_sdk": "Sentry",
}  # fmt: skip

_LEAST = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?\s*>=\s*([0-9][0-9.]*)")


def look_at_sdks() -> Iterator[Finding]:
    rows: dict[str, list[Provider]] = {}
    for row in ROWS:
        rows.setdefault(row.package, []).append(row)
    seen = []
    for package, of_package in rows.items():
        folder = _folder(package)
        if folder is None:
            continue
        name = _DISTRIBUTIONS.get(package, package.replace("_", "-"))
        version = _version(name)
        seams = [seam for row in of_package for seam in _seams(row)]
        if not any(_has(package, folder, *seam) for seam in seams):
            yield Finding(
                "SDKs", "problem", f"{name} {version or '(version unknown)'} has none of the functions that are "
                "wrapped: its calls are not seen", f"upgrade costguard, or install a version of {name} that it knows",
            )  # fmt: skip
            continue
        least = _least().get(name.lower())
        if version and least and _parts(version) < _parts(least):
            yield Finding(
                "SDKs", "warning", f"{name} {version} is older than {least}, the oldest that is tested",
                f"pip install --upgrade {name}",
            )  # fmt: skip
        seen.append(f"{name} {version}".strip())
    if seen:
        yield Finding("SDKs", "ok", f"guard.instrument() sees the calls of {', '.join(seen)}")
    else:
        yield Finding(
            "SDKs",
            "problem",
            "no SDK that is known here is installed",
            "pip install openai, or another of docs/providers.md",
        )


def _seams(row: Provider) -> list[tuple[str, str]]:
    if row.stainless:
        return [(row.seam, "SyncAPIClient.request"), (row.seam, "AsyncAPIClient.request")]
    return [(seam.module, seam.name) for seam in row.seams]


def _folder(package: str) -> Path | None:
    """Where a package is; a dotted one is looked for in the folders of its first part, which may be a namespace."""
    first, *rest = package.split(".")
    try:
        spec = importlib.util.find_spec(first)
    except (ImportError, ValueError):
        return None
    for place in (spec.submodule_search_locations or []) if spec is not None else []:
        folder = Path(place, *rest)
        if folder.is_dir():
            return folder
    return None


def _has(package: str, folder: Path, module: str, name: str) -> bool:
    if module != package and not module.startswith(f"{package}."):
        return False
    inner = module.removeprefix(package).strip(".").split(".")
    path = folder.joinpath(*[part for part in inner if part])
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return name in _names(file)
    return False


@cache
def _names(file: Path) -> frozenset[str]:
    """The functions, and methods as "Class.method", that a file defines at its top or under an `if` or `try` there."""
    try:
        tree = ast.parse(file.read_text("utf-8"))
    except (OSError, ValueError, SyntaxError):
        return frozenset()
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
            found |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, kinds)}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
    return frozenset(found)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


@cache
def _least() -> dict[str, str]:
    """What our extras ask for at least: what the tests run with."""
    try:
        wanted = metadata.requires("llm-costguard") or []
    except metadata.PackageNotFoundError:
        return {}
    return {found[1].lower(): found[2] for line in wanted if (found := _LEAST.match(line))}


def _parts(version: str) -> tuple[int, ...]:
    return tuple([int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3]])


def look_at_prices(prices: Sequence[str]) -> Iterator[Finding]:
    """Raises ConfigError for a list that cannot be read."""
    book = PriceBook(list(prices))
    for said in book.look():
        yield Finding("prices", "problem", said, "see the address, or give the path of a file")
    for row in sources_of(book):
        text = f"{row['source']}: {row['entries']:,} models" + (f", {row['days']} days old" if row["days"] else "")
        if row["state"] == "ok":
            yield Finding("prices", "ok", text)
        elif row["state"] == "too old":
            yield Finding("prices", "problem", text, "pip install --upgrade genai-prices, or Guard(prices=URL)")
        else:
            yield Finding("prices", "warning", f"{text} ({row['state']})", "pip install --upgrade genai-prices")


def look_at_telemetry(around: Mapping[str, str]) -> Iterator[Finding]:
    """What is installed says what may be meant; whether a guard has the hooks is told with --app."""
    if _version("opentelemetry-api"):
        if _version("opentelemetry-sdk"):
            yield Finding("telemetry", "ok", f"OpenTelemetry {_version('opentelemetry-sdk')}: hooks=[OpenTelemetry()]")
        else:
            yield Finding(
                "telemetry", "note", "opentelemetry-api without opentelemetry-sdk: spans and metrics go nowhere",
                "pip install opentelemetry-sdk and an exporter, if you want them",
            )  # fmt: skip
    if _version("prometheus-client"):
        folder = around.get("PROMETHEUS_MULTIPROC_DIR")
        if folder and not Path(folder).is_dir():
            yield Finding(
                "telemetry", "problem", f"PROMETHEUS_MULTIPROC_DIR is {folder}, which is no directory",
                "make it before the workers start, empty",
            )  # fmt: skip
        elif not folder and workers(around) > 1:
            yield Finding(
                "telemetry", "warning",
                f"{workers(around)} workers, and no PROMETHEUS_MULTIPROC_DIR: a scrape sees the counts of one of them",
                "set it to an empty directory before the workers start (docs/prometheus.md)",
            )  # fmt: skip
        else:
            yield Finding("telemetry", "ok", f"prometheus-client {_version('prometheus-client')}: hooks=[Prometheus()]")
    others = [name for package, name in _PATCHERS.items() if _installed(package)]
    if others:
        yield Finding(
            "telemetry", "note", f"{', '.join(others)} may wrap the same SDKs: calls are counted once all the same",
            "see docs/other-instrumentors.md",
        )  # fmt: skip


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False
