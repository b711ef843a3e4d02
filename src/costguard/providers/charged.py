"""The cost that a provider states itself, beside the usage it reports.

OpenRouter: `cost` in credits, a credit being a US dollar (https://openrouter.ai/docs/use-cases/usage-accounting);
with the caller's own key that is OpenRouter's fee, and `cost_details.upstream_inference_cost` goes on the caller's
account there. Perplexity: `cost.total_cost` (https://docs.perplexity.ai/api-reference/chat-completions-post).
xAI: `cost_in_usd_ticks`, ten thousand million to the dollar (https://docs.x.ai/docs/cost-tracking). Pydantic's
gateway: `pydantic_ai_gateway.cost_estimate`.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from costguard.money import MOST_USD, to_nanos

_NAMES = ("cost", "cost_in_usd_ticks", "pydantic_ai_gateway")


def charged(usage: Mapping[str, Any]) -> int | None:
    """Nano-dollars that stand in a usage, None if none do or they are unreadable.

    Zero counts where OpenRouter says it, of its free models. Elsewhere it is what a field holds that nobody
    filled in, as with xAI's models at Azure, and is not believed.
    """
    for name in _NAMES:
        if usage.get(name) is not None:
            break
    else:
        return None
    if name == "cost_in_usd_ticks":
        cost = _amount(usage[name], -10)
    elif name == "pydantic_ai_gateway":
        cost = _amount(_part(usage[name], "cost_estimate"))
    elif type(usage[name]) is dict:
        told = usage[name]
        cost = _amount(told.get("total_cost")) if told.get("currency", "USD") == "USD" else None
    else:
        cost = _amount(usage[name])
        if cost is not None and usage.get("is_byok") is True:
            upstream = _amount(_part(usage.get("cost_details"), "upstream_inference_cost"))
            cost = None if upstream is None else cost + upstream
        elif cost == 0 and type(usage.get("is_byok")) is bool:
            return 0
    return to_nanos(cost) if cost else None


def _part(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else None


def _amount(value: Any, exponent: int = 0) -> Decimal | None:
    """A JSON number (or one in a string) as the exact decimal that was written; None for what is no amount."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        amount = Decimal(value if isinstance(value, (int, str)) else repr(value)).scaleb(exponent)
    except (InvalidOperation, ValueError):
        return None
    return amount if amount.is_finite() and 0 <= amount <= MOST_USD else None
