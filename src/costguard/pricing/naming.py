"""The names that providers and models go by."""

from __future__ import annotations

import re
from functools import lru_cache

ALIASES = {
    "amazon": "aws", "azure-openai": "azure", "azure_openai": "azure", "bedrock": "aws", "fireworks_ai": "fireworks",
    "gemini": "google", "grok": "x-ai", "mistralai": "mistral", "moonshot": "moonshotai", "together_ai": "together",
    "togetherai": "together", "vertex": "google", "vertex_ai": "google", "vertexai": "google", "voyage": "voyageai",
    "xai": "x-ai",
}  # fmt: skip
"""Names that a provider goes by, to the price list's."""

_WRAPPED = re.compile(r"^(?:arn:.*|projects/.*|publishers/.*|accounts/.*|models)/(?=[^/]+$)")
_REGION = re.compile(r"^(?:us|eu|apac|au|jp|ca|sa|me|af|us-gov|global)\.")
_MAKER = re.compile(r"^[a-z]+\.(?=[a-z])")
_VERSION = re.compile(r"-v\d+(?::\d+)?(?::\d+k)?$")
_DATE = re.compile(r"(?:[-@]20\d\d-\d\d-\d\d|[-@]20\d{6}|[-@]latest)$")


def canonical(provider: str) -> str:
    """The price list's name of a provider, e.g. "aws" for "bedrock"."""
    name = provider.strip().lower()
    return ALIASES.get(name, name)


def undated(model: str) -> str:
    """A model's name without the date of its snapshot: "gpt-4o" of "gpt-4o-2024-08-06"."""
    return _DATE.sub("", model)


def spellings(providers: tuple[str, ...], model: str) -> list[str]:
    """A model's name as it is, then with more and more taken off: wrapping ("models/", an ARN, the
    provider's own name), region, version, date.

    A fine-tune ("ft:...") keeps all of its name: it never costs what its base model costs.
    """
    return [*plain(providers, model), *normalised(providers, model)]


def plain(providers: tuple[str, ...], model: str) -> list[str]:
    """A model's name as it is, and without wrapping."""
    name = _WRAPPED.sub("", model)
    for provider in providers:
        name = name.removeprefix(f"{provider}/")
    return [each for each in dict.fromkeys((model, name)) if each]


def normalised(providers: tuple[str, ...], model: str) -> list[str]:
    """What is tried where no list has the name as it is: without region, version, date."""
    found = plain(providers, model)
    if not found or found[-1].startswith("ft:"):
        return []
    name, less = found[-1], []
    for pattern in (_REGION, _VERSION, _DATE):
        name = pattern.sub("", name)
        less.append(name)
    return [each for each in dict.fromkeys(less) if each and each not in found]


@lru_cache(maxsize=1_024)
def is_profile_of(asked: str, answered: str) -> bool:
    """Whether the name that was asked for is an inference profile of the model that answered: the same name with a
    region before it. The profile decides the price, and answers leave it out, and the maker too: "global.anthropic.
    claude-sonnet-4-5-20250929-v1:0" answers as "claude-sonnet-4-5-20250929"."""
    profile = _WRAPPED.sub("", asked.lower())
    model = _REGION.sub("", profile)
    return model != profile and _bare(model) == _bare(answered.lower())


def _bare(model: str) -> str:
    return undated(_VERSION.sub("", _MAKER.sub("", model)))
