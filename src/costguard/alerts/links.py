"""Where on the dashboard an alert is explained: a link in each message.

Whom it is about is not in it: the dashboard may hide it from those who look there, and addresses are kept in logs and
histories. The number of the alert is, and the dashboard knows the rest.
"""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote, urlsplit

from costguard.alerts.alert import Alert
from costguard.alerts.rules_alert import RuleAlert
from costguard.errors import ConfigError


class Links:
    """base: the address that people open, where the dashboard is mounted: "https://costs.example.com/costs".

    Raises ConfigError for an address that is none.
    """

    def __init__(self, base: str) -> None:
        try:
            parts = urlsplit(base if isinstance(base, str) else "")
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.query or parts.fragment)
        except ValueError:
            good = False
        if not good or any(letter.isspace() or not letter.isprintable() for letter in base):
            raise ConfigError(
                f"dashboard_url {str(base)[:60]!r} is not an http or https address; give the one that people open, "
                f"such as https://costs.example.com/costs"
            )
        self._base = base.rstrip("/")

    def onto(self, alert: Alert, number: int = 0) -> Alert:
        """The same alert with its link. `number` is that of its row in the outbox; 0: it has none."""
        return replace(alert, link=self.of(alert, number))

    def of(self, alert: Alert, number: int = 0) -> str:
        page, payer = page_of(alert)
        return f"{self._base}/alerts/{number}" if payer and number else f"{self._base}/{page}"


def page_of(alert: Alert) -> tuple[str, dict[str, str]]:
    """As `costguard.dashboard` has them: the page, and the values of tags that it is then about."""
    if alert.kind == "folded":
        return "alerts", {}
    if alert.kind in ("unpriced", "partial", "stale prices"):
        return "prices", {}
    call = alert.figures.get("call_id") if isinstance(alert, RuleAlert) else None
    if isinstance(call, str):
        return f"calls/{quote(call, safe='')}", {}
    payer = {name: value for name, value in alert.payer.items() if name != "host"}
    if alert.budget:
        return "budgets", payer
    return ("explore", payer) if payer else ("", {})
