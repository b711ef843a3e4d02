"""The SDKs that are known: a row each."""

from __future__ import annotations

from costguard.providers.anthropic import ANTHROPIC
from costguard.providers.bedrock import BEDROCK
from costguard.providers.cohere import COHERE
from costguard.providers.google import GOOGLE
from costguard.providers.groq import GROQ
from costguard.providers.huggingface import HUGGINGFACE
from costguard.providers.litellm import LITELLM
from costguard.providers.mistral import MISTRAL
from costguard.providers.ollama import OLLAMA
from costguard.providers.openai import OPENAI
from costguard.providers.openai_sockets import OPENAI_SOCKETS
from costguard.providers.rows import Provider
from costguard.providers.together import TOGETHER
from costguard.providers.voyage import VOYAGE

ROWS: tuple[Provider, ...] = (
    OPENAI,
    OPENAI_SOCKETS,
    ANTHROPIC,
    BEDROCK,
    GOOGLE,
    LITELLM,
    COHERE,
    GROQ,
    HUGGINGFACE,
    MISTRAL,
    OLLAMA,
    TOGETHER,
    VOYAGE,
)
