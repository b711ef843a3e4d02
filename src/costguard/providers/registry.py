"""The SDKs that are known: a row each."""

from __future__ import annotations

from costguard.providers.anthropic import ANTHROPIC
from costguard.providers.openai import OPENAI
from costguard.providers.rows import Provider

ROWS: tuple[Provider, ...] = (
    OPENAI,
    ANTHROPIC,
)
