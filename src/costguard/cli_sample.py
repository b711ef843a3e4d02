"""`costguard alerts test`: a sample to each channel that is named, and whether it was taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from costguard.cli_store import FAILED, Json, one_line, show, show_json, visible
from costguard.errors import ConfigError


def send_sample(
    *,
    slack: Annotated[
        str | None, typer.Option("--slack", envvar="SLACK_WEBHOOK_URL", metavar="URL", help="An incoming webhook")
    ] = None,
    slack_token: Annotated[
        str | None,
        typer.Option("--slack-token", envvar="SLACK_BOT_TOKEN", metavar="TOKEN", help="With --slack-channel"),
    ] = None,
    slack_channel: Annotated[str | None, typer.Option("--slack-channel", metavar="NAME", help="Such as #costs")] = None,
    webhook: Annotated[str | None, typer.Option("--webhook", metavar="URL", help="With --secret")] = None,
    secret: Annotated[
        str | None, typer.Option("--secret", envvar="COSTGUARD_WEBHOOK_SECRET", metavar="TEXT", help="whsec_...")
    ] = None,
    apprise: Annotated[list[str] | None, typer.Option("--apprise", metavar="URL", help="Repeatable")] = None,
    log: Annotated[bool, typer.Option("--log", help="What the log would say")] = False,
    as_json: Json = False,
) -> None:
    """Send a sample alert. Exit code 1: a channel did not take it."""
    with one_line():
        channels = _channels(slack, slack_token, slack_channel, webhook, secret, apprise or [])
        if log:
            channels["log"] = lambda alert: typer.echo(alert.text, err=as_json)
        if not channels:
            raise ConfigError("no channel given: add --slack URL, --webhook URL, --apprise URL or --log")
    said = {name: _send(channel) for name, channel in channels.items()}
    if as_json:
        show_json([{"channel": name, "taken": not error, "error": error} for name, error in said.items()])
    for name, error in said.items():
        if error:
            typer.echo(f"costguard: {name} did not take it: {error}", err=True)
        elif not as_json:
            show(f"{name} took it")
    if any(said.values()):
        raise typer.Exit(FAILED)


def _channels(  # noqa: PLR0917 - the options of the command
    slack_url: str | None,
    token: str | None,
    place: str | None,
    webhook_url: str | None,
    secret: str | None,
    services: list[str],
) -> dict[str, Callable[[Any], Any]]:
    made: list[Any] = []
    if slack_url or (token and place):
        from costguard.alerts.slack import slack

        made += [slack(slack_url)] if slack_url else []
        made += [slack(token=token, channel=place)] if token and place else []
    if webhook_url:
        from costguard.alerts.webhook import webhook

        if not secret:
            raise ConfigError("--webhook needs the secret that its messages are signed with: --secret whsec_...")
        made.append(webhook(webhook_url, secret))
    if services:
        from costguard.alerts.apprise import apprise

        made += [apprise(url) for url in services]
    return {channel.name: channel for channel in made}


def _send(channel: Callable[[Any], Any]) -> str:
    """What was wrong; "" where it was taken."""
    from costguard.alerts.sample import sample

    try:
        channel(sample())
    except Exception as error:  # noqa: BLE001  # whatever a service says is what this command is for
        return visible(str(error)) or type(error).__name__
    return ""
