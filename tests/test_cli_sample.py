from __future__ import annotations

import pytest
from typer.testing import CliRunner

from costguard.cli import app
from tests.alerts.server import Answer, SlackServer

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    for name in ("SLACK_WEBHOOK_URL", "SLACK_BOT_TOKEN", "COSTGUARD_WEBHOOK_SECRET"):
        monkeypatch.delenv(name, raising=False)
    return CliRunner()


def test_a_sample_goes_to_slack_and_says_that_it_is_one(run: CliRunner) -> None:
    with SlackServer() as server:
        done = run.invoke(app, ["alerts", "test", "--slack", server.webhook])
    assert done.exit_code == 0
    assert done.stdout.startswith("slack:")
    assert "TEST of this channel" in server.accepted[0]["text"]


def test_a_channel_that_does_not_take_it_is_named_and_the_others_are_tried(run: CliRunner) -> None:
    with SlackServer() as server:
        server.answers.append(Answer(404, "no_service"))
        done = run.invoke(
            app, ["alerts", "test", "--slack", server.webhook, "--webhook", server.webhook, "--secret", SECRET]
        )
    assert done.exit_code == 1
    assert "HTTP 404 no_service" in done.stderr
    assert "secret" not in done.stderr
    assert done.stdout.startswith("webhook:")


def test_the_log_shows_what_it_would_say(run: CliRunner) -> None:
    done = run.invoke(app, ["alerts", "test", "--log"])
    assert "costguard-test has spent $4.02 of $5.00 (80 %)" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "no channel given"),
        (["--webhook", "https://ops.example.com/costs"], "--secret whsec_"),
        (["--slack", "nothing"], "not an http or https address"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(run: CliRunner, arguments: list[str], says: str) -> None:
    done = run.invoke(app, ["alerts", "test", *arguments])
    assert done.exit_code == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
