"""Alerts to any of the hundred services that `apprise` knows: mail, Teams, Discord, Telegram, PagerDuty, SMS."""

from __future__ import annotations

from hashlib import sha256
from importlib.util import find_spec
from typing import Any

from costguard.alerts.alert import Alert
from costguard.alerts.spoken import tame
from costguard.errors import ConfigError, MissingExtra


class Apprise:
    """A channel: one notification for each alert, and one for many at once. Made by `apprise`."""

    folds = True

    def __init__(self, service: Any, name: str) -> None:
        self.name = name
        self._service = service

    def __repr__(self) -> str:
        return f"apprise({self.name!r})"

    def __call__(self, alert: Alert) -> None:
        """Send it. Raises ConnectionError if the service does not take it: apprise does not say why, it logs it."""
        from apprise import NotifyFormat, NotifyType

        refused = alert.refused or alert.fraction >= 1
        # A tag of a budget's payer may have line breaks; what else is told has lines of its own.
        lines = [alert.text] if alert.kind == "budget" else alert.text.splitlines()
        if not self._service.notify(
            title=" ".join(tame(alert.title).split()),
            body="\n".join([*(" ".join(tame(line).split()) for line in lines), *([alert.link] if alert.link else [])]),
            body_format=NotifyFormat.TEXT,
            notify_type=NotifyType.FAILURE if refused else NotifyType.WARNING,
            interpret_escapes=False,
        ):
            raise ConnectionError(f"{self.name} did not take the message; the log of apprise says why")


def apprise(url: str, *, name: str | None = None) -> Apprise:
    """A channel over apprise, for one service.

    apprise("mailtos://user:password@example.com?to=ops@example.com")

    url:   as https://github.com/caronc/apprise/wiki lists them. One for each channel: then each is told once
    name:  what the outbox knows it by, over restarts; by default the kind of service and a digest of the url

    Raises ConfigError for an url that apprise does not know, MissingExtra without apprise.
    """
    if find_spec("apprise") is None:
        raise MissingExtra("apprise", "apprise", "apprise()")
    from apprise import Apprise as Services
    from apprise import AppriseAsset

    if not isinstance(url, str) or not url.strip():
        raise ConfigError("apprise() needs the url of one service, such as 'mailtos://user:password@example.com'")
    scheme = url.partition(":")[0]
    services = Services(asset=AppriseAsset(app_id="costguard", app_desc="costguard", interpret_emojis=False))
    # Of what follows the scheme the most is secret.
    if not services.add(url):
        raise ConfigError(f"apprise does not know the url {scheme[:20]!r}://...; see its list of services")
    if len(services) != 1:
        raise ConfigError(
            f"{len(services)} services in one apprise() of {scheme[:20]!r}; give each a channel of its own"
        )
    return Apprise(services, name or f"apprise:{scheme}:{sha256(url.encode()).hexdigest()[:8]}")
