"""The `mistralai` package as this version lays it out: 1.x has another root, and both of 1.x and 2.0 ride on httpx."""

from __future__ import annotations

import importlib
from typing import Any

import mistralai

ROOT = "mistralai" if hasattr(mistralai, "Mistral") else "mistralai.client"

_root: Any = importlib.import_module(ROOT)
_utils: Any = importlib.import_module(f"{ROOT}.utils")
_base: Any = importlib.import_module(f"{ROOT}.basesdk")

Mistral: Any = _root.Mistral
BaseSDK: Any = _base.BaseSDK
RetryConfig: Any = _utils.RetryConfig
BackoffStrategy: Any = _utils.BackoffStrategy
HTTPX: Any = _base.httpx
"""The transport's package: httpx2 from mistralai 3.0 on."""
