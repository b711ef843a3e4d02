"""`make demo`: three users, two apps, two providers, one ledger, and a budget that runs out.

A FastAPI app on uvicorn and a Flask app on waitress, in processes of their own, share one SQLite
ledger. The providers are local (see provider.py) unless OPENAI_API_KEY or ANTHROPIC_API_KEY is set.
Exits with 0 only if everything happened as it should.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path

import httpx
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from costguard import Guard
from costguard.reports.spend import spend
from costguard.reports.table import as_table
from examples.provider import Provider
from examples.servers import both_apps
from examples.shared import SESSIONS
from examples.slack_receiver import SlackReceiver, plain_text

DATABASE = Path("demo.db")
STORE = f"sqlite:///{DATABASE}"
BY = "user,feature,route"
MOST_TRIES = 80
STREETS = ("search index", "nightly job", "customer review", "launch plan", "pricing page", "onboarding mail")


class Demo:
    """Drives the apps, prints what happens, and keeps count of what should have."""

    def __init__(self, console: Console, apps: dict[str, str], provider: Provider, *, local: bool) -> None:
        self.console = console
        self.apps = apps
        self.provider = provider
        self.local = local
        self.failed: list[str] = []
        self.client = httpx.Client(timeout=120, trust_env=False)

    def title(self, text: str) -> None:
        self.console.print()
        self.console.rule(f"[bold]{text}", align="left", style="dim")

    def check(self, claim: str, true: bool) -> None:
        self.console.print(f"  [green]✓[/] {claim}" if true else f"  [red bold]✗ {claim}")
        if not true:
            self.failed.append(claim)

    def ask(self, user: str, app: str, path: str, text: str) -> httpx.Response:
        token = next(token for token, name in SESSIONS.items() if name == user)
        url = f"{self.apps[app]}{path}"
        answer = self.client.post(url, json={"text": text}, headers={"Authorization": f"Bearer {token}"})
        style = "green" if answer.status_code == 200 else "red bold"
        cost = answer.headers.get("x-costguard-cost", "")
        if answer.status_code != 200:
            said = "refused before the provider was called"
        elif answer.headers["content-type"].startswith("text/event-stream"):
            said = f"streamed, {answer.text.count('data:')} events"
        else:
            said = f"${cost}" if cost and not cost.startswith("$") else cost
        self.console.print(
            f"  [bold]{user:<6}[/] {app:<8} POST {path:<22} [{style}]{answer.status_code}[/]  [dim]{said}[/]",
            highlight=False,
        )
        return answer

    def show_refusal(self, answer: httpx.Response) -> None:
        wanted = ("content-type", "retry-after", "x-should-retry", "ratelimit", "ratelimit-policy", "cache-control")
        text = Text(f"HTTP/1.1 {answer.status_code} {answer.reason_phrase}\n", style="bold red")
        for name in wanted:
            if name in answer.headers:
                text.append(f"{name}: ", "cyan").append(f"{answer.headers[name]}\n", "default")
        text.append("\n")
        text.append(json.dumps(answer.json(), indent=2), "default")
        self.console.print(Panel(text, title="what bob's client gets", border_style="red", expand=False))


def everyday_traffic(demo: Demo) -> None:
    demo.title("Three users at work")
    for user, app, path, text in (
        ("alice", "fastapi", "/chat", "What did the team ship last week?"),
        ("alice", "fastapi", "/chat/stream", "Draft a note to the customers about the search page."),
        ("alice", "flask", "/summarize", "The nightly job failed twice. The index was too large. It runs again."),
        ("carol", "flask", "/chat/stream", "Which questions are open before the launch?"),
        ("carol", "fastapi", "/notes/launch/search", "open questions"),
        ("carol", "flask", "/notes/launch/ask", "Who owns the nightly job?"),
        ("bob", "fastapi", "/chat", "Hello!"),
    ):
        answer = demo.ask(user, app, path, text)
        if answer.status_code != 200:
            demo.check(f"{user} gets an answer from {app} {path}: {answer.text[:300]}", False)


def bob_runs_out(demo: Demo) -> httpx.Response | None:
    demo.title("Bob has written a loop")
    for number in range(MOST_TRIES):
        subject = STREETS[number % len(STREETS)]
        answer = demo.ask("bob", "fastapi", "/chat", f"Write point {number + 1} about the {subject}.")
        if answer.status_code != 200:
            return answer
    return None


def refused_everywhere(demo: Demo, refusal: httpx.Response) -> None:
    clean = refusal.status_code == 429
    clean = clean and refusal.headers["content-type"].startswith("application/problem+json")
    demo.check("a clean 429 with application/problem+json", clean)
    problem = refusal.json() if clean else {}
    demo.check("it names the payer and the budget", "bob" in problem.get("detail", "") and "budget" in problem)
    later = int(refusal.headers.get("retry-after", 0)) > 0 and refusal.headers.get("x-should-retry") == "false"
    demo.check("it says when to come back, and that retrying now is no use", later)
    demo.title("The same budget in the other app, another process; and the others go on")
    before = len(demo.provider.paths)
    refusals = [
        demo.ask("bob", "flask", "/chat", "Hello?"),
        demo.ask("bob", "flask", "/chat/stream", "Hello?"),
        demo.ask("bob", "fastapi", "/chat/stream", "Hello?"),
    ]
    statuses = {answer.status_code for answer in refusals}
    demo.check("bob is refused in both apps, streams before their first byte", statuses == {429})
    if demo.local:
        demo.check("no refused call reached the provider", len(demo.provider.paths) == before)
    others = [
        demo.ask("alice", "flask", "/chat", "Is it only me?"),
        demo.ask("carol", "fastapi", "/summarize", "Bob has a loop. The loop has a bug. Carol has a deadline."),
    ]
    demo.check("alice and carol are served as before", {answer.status_code for answer in others} == {200})


def slack_is_told(demo: Demo, slack: SlackReceiver) -> None:
    demo.title("Slack")
    arrived = slack.wait(1, timeout=60)
    if arrived:
        text = plain_text(slack.messages[0])
        demo.console.print(Panel(Text(text), title="one message", border_style="magenta", expand=False))
    demo.check("Slack is told", arrived)


def the_books(demo: Demo, slack: SlackReceiver, limit: Decimal) -> None:
    """Read what the two processes have written, after both have stopped."""
    demo.title("The ledger")
    with Guard(STORE) as guard:
        entries = guard.entries()
        spent = guard.spent(user="bob")
        demo.check(f"bob has spent ${spent:f} of ${limit}: not a cent over", Decimal(0) < spent <= limit)
        once = len(slack.messages) == 1 and "bob" in json.dumps(slack.messages) and not guard.ledger.undelivered()
        demo.check("Slack was told once: bob was refused four times, in two processes", once)
        if demo.local:
            answered = len(demo.provider.paths)
            ids = {entry.call_id for entry in entries}
            demo.check(
                f"each of the {answered} calls the provider answered is in the ledger, once",
                len(entries) == answered == len(ids),
            )
        values = [entry.tags.value(tag) for entry in entries for tag in ("user", "feature", "route", "environment")]
        demo.check("every one has its user, feature, route and environment", "unattributed" not in values)
        exact = all(entry.cost is not None and not entry.estimated for entry in entries)
        demo.check("every one has a price, and none had to be estimated", exact)
        demo.title("Who spent what")
        demo.console.print()
        table = as_table(spend(guard.ledger, BY), width=demo.console.width, color=demo.console.is_terminal)
        demo.console.out(table, highlight=False)
    command = os.path.relpath(Path(sys.executable).with_name("costguard"))
    demo.console.print(
        f"\n  [dim]again:[/] {command} report --by {BY} --store {STORE}", highlight=False, soft_wrap=True
    )


def settings(provider: Provider, slack: SlackReceiver) -> tuple[dict[str, str], list[str]]:
    """The environment of the apps, and which providers are real."""
    real = [name for name in ("OPENAI", "ANTHROPIC") if os.environ.get(f"{name}_API_KEY")]
    made = {"COSTGUARD_STORE": STORE, "SLACK_WEBHOOK_URL": slack.url, "USER_BUDGET": "0.05"}
    if real:  # small models, short answers, and so a small budget
        made |= {"USER_BUDGET": "0.002", "MAX_TOKENS": "120"}
        made |= {"OPENAI_MODEL": "gpt-4.1-mini", "ANTHROPIC_MODEL": "claude-haiku-4-5"}
    if "OPENAI" not in real:
        made |= {"OPENAI_BASE_URL": provider.openai_url, "OPENAI_API_KEY": "local"}
    if "ANTHROPIC" not in real:
        made |= {"ANTHROPIC_BASE_URL": provider.url, "ANTHROPIC_API_KEY": "local"}
    return made, real


def run(console: Console) -> int:
    started = time.monotonic()
    for leftover in DATABASE.parent.glob(f"{DATABASE.name}*"):
        leftover.unlink()
    with ExitStack() as stack:
        provider = stack.enter_context(Provider())
        slack = stack.enter_context(SlackReceiver())
        environment, real = settings(provider, slack)
        limit = Decimal(environment["USER_BUDGET"])
        who = {
            name: "the real one" if name in real else "a local one, no key, no network"
            for name in ("OPENAI", "ANTHROPIC")
        }
        console.print(
            Panel(
                f"FastAPI on uvicorn and Flask on waitress, two processes, one SQLite ledger\n"
                f"OpenAI: {who['OPENAI']}    Anthropic: {who['ANTHROPIC']}\n"
                f"budgets: ${limit}/day per user, $500/month, $0.03/day per user on /summarize",
                title="[bold]costguard",
                border_style="blue",
                expand=False,
            )
        )
        with both_apps(environment) as apps:
            demo = Demo(console, apps, provider, local=not real)
            everyday_traffic(demo)
            refusal = bob_runs_out(demo)
            demo.check("bob runs out of budget", refusal is not None)
            if refusal is not None:
                if refusal.status_code == 429:
                    demo.show_refusal(refusal)
                refused_everywhere(demo, refusal)
                slack_is_told(demo, slack)
        the_books(demo, slack, limit)
    seconds = time.monotonic() - started
    if demo.failed:
        console.print(f"\n[red bold]{len(demo.failed)} things did not happen as they should ({seconds:.0f} s)")
        return 1
    console.print(f"\n[green bold]All as it should be[/] [dim]({seconds:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(run(Console(width=None if sys.stdout.isatty() else 112)))
