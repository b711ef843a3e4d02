"""What LiteLLM calls a model, as provider and model, before the request says it."""

from __future__ import annotations

import logging
import os
import sys
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any

from costguard.providers.hosts import HOSTS

log = logging.getLogger("costguard.providers")

MOST = 1_024
"""Names whose provider and model are remembered; the oldest is forgotten first."""

# LiteLLM's names (docs.litellm.ai/docs/providers) where ours are others.
_PROVIDERS = {
    "gemini": "google", "vertex_ai": "vertex", "vertex_ai_beta": "vertex", "bedrock_converse": "bedrock",
    "together_ai": "together", "cohere_chat": "cohere", "ollama_chat": "ollama", "azure_ai": "azure",
    "fireworks_ai": "fireworks", "text-completion-openai": "openai", "azure_text": "azure",
    "anthropic_text": "anthropic",
}  # fmt: skip

_SERVED = frozenset(HOSTS.values())

_lock = Lock()
_learned: OrderedDict[tuple[int, str], tuple[str, str]] = OrderedDict()


def _after_fork() -> None:
    """In a child process, where the thread that may have held the lock is not."""
    global _lock  # noqa: PLW0603
    _lock = Lock()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork)


def named(router: Any, kwargs: dict[str, Any]) -> tuple[tuple[str, str], Callable[[str, str], None]]:
    """Provider and model that a call will likely ask, and what is to be told the true ones for the next time.

    router: the Router whose model group it is, None for a model of LiteLLM's
    """
    name = kwargs.get("model")
    name = name if type(name) is str else ""
    key = (0 if router is None else id(router), name)
    known = _learned.get(key)
    if known is None:
        try:
            known = _guess(*_deployment(router, name), kwargs)
        except Exception:
            # LiteLLM raises for models that it does not know; it will say so itself.
            log.debug("costguard cannot tell the provider of %r", name, exc_info=True)
            provider, slash, model = name.partition("/")
            known = (provider, model) if slash else ("litellm", name)

    def learn(provider: str, model: str) -> None:
        if known != (provider, model) or key not in _learned:
            with _lock:
                _learned[key] = (provider, model)
                if len(_learned) > MOST:
                    _learned.popitem(last=False)

    return known, learn


def host_free(provider: str) -> str:
    """A provider whose prices do not depend on the host that it is asked at; else ""."""
    return provider if provider in _SERVED else ""


def renamed(router: Any, name: Any, model: str) -> str | None:
    """The name for another model, where `name` was asked for; None if it cannot be asked."""
    if type(name) is not str:
        return None
    if router is not None:
        return model if router.get_model_list(model_name=model) else None
    provider, slash, _ = name.partition("/")
    return f"{provider}/{model}" if slash and "/" not in model else model


def _deployment(router: Any, name: str) -> tuple[str, dict[str, Any]]:
    """The model of a Router's group, with its parameters: of the first deployment, if it has several."""
    found = None if router is None else router.get_model_list(model_name=name)
    if not found:
        return name, {}
    deployment = found[0]
    given = dict(deployment["litellm_params"])
    base = (deployment.get("model_info") or {}).get("base_model") or given.get("base_model")
    return base or given["model"], given


def _guess(name: str, given: dict[str, Any], kwargs: dict[str, Any]) -> tuple[str, str]:
    told = {field: kwargs.get(field) or given.get(field) for field in ("custom_llm_provider", "api_base")}
    model, provider, *_ = sys.modules["litellm"].get_llm_provider(model=name, **told)
    return _PROVIDERS.get(provider, provider), model
