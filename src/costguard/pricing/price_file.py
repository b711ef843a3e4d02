"""A price list as text, in one of four shapes, found by what is in it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from decimal import Decimal
from hashlib import sha256
from typing import Any

from costguard.errors import ConfigError
from costguard.pricing.file_langfuse import is_langfuse, read_langfuse
from costguard.pricing.file_litellm import is_litellm, read_litellm
from costguard.pricing.file_openlit import is_openlit, read_openlit
from costguard.pricing.file_ours import is_ours, read_ours
from costguard.pricing.problems import Problems
from costguard.pricing.table import Table

_SHAPES: tuple[tuple[str, Callable[[Any], bool], Callable[[Any, Problems], Table]], ...] = (
    ("costguard", is_ours, read_ours),
    ("langfuse", is_langfuse, read_langfuse),
    ("litellm", is_litellm, read_litellm),
    ("openlit", is_openlit, read_openlit),
)


def read_prices(content: bytes, name: str) -> tuple[Table, str]:
    """The table of a price list, and the name of its shape: "costguard", "litellm", "langfuse" or "openlit".

    name: of the file or URL, for messages and for receipts, which show it with a digest of the content

    Raises ConfigError with a line for each thing that is wrong; then nothing of the list is to be used.
    """
    data = _parsed(content, name)
    for shape, is_it, read in _SHAPES:
        if is_it(data):
            problems = Problems(name)
            table = read(data, problems)
            problems.check()
            if not len(table):
                raise ConfigError(f"the prices of {name} are empty; a list without any price is a mistake")
            table.source = f"{name} {sha256(content).hexdigest()[:8]}"
            return table, shape
    raise ConfigError(
        f"the prices of {name} have none of the four shapes that are read: costguard's own ([[price]] tables in TOML "
        f"or JSON), LiteLLM's model_prices_and_context_window.json, Langfuse's model definitions, "
        f"OpenLIT's pricing.json"
    )


def _parsed(content: bytes, name: str) -> Any:
    """JSON or TOML, with every number as it is written: floats are no money."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"the prices of {name} are not UTF-8 text: {error}") from None
    if text.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(text, parse_float=Decimal, parse_constant=str)
        except (ValueError, RecursionError) as error:
            # A TOML file may begin with a table.
            wrong = f"not JSON ({error})"
    else:
        wrong = "not JSON"
    try:
        return tomllib.loads(text, parse_float=Decimal)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        said = wrong if wrong != "not JSON" and not text.lstrip().startswith("[[") else f"not TOML ({error})"
        raise ConfigError(f"the prices of {name} are {said}; write [[price]] tables in TOML, or JSON") from None
