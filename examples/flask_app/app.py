"""The same notes assistant's older sibling: Flask, sync views, plain and streamed answers.

waitress-serve --call examples.flask_app.app:create_app
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from anthropic import Anthropic
from flask import Flask, Response, request
from openai import OpenAI
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from costguard import Guard
from costguard.dashboard import Dashboard
from costguard.web.flask import CostGuard
from examples.shared import ANTHROPIC_MODEL, MAX_TOKENS, OPENAI_MODEL, open_guard, signed_in_user, who_sees_costs


def create_app(guard: Guard | None = None) -> Flask:
    guard = guard or open_guard()
    openai, anthropic = OpenAI(), Anthropic()
    app = Flask(__name__)
    CostGuard(app, guard, user=signed_in_user, environment="production", cost_headers=True)
    dashboard = Dashboard(guard, authorize=who_sees_costs)
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/costs": dashboard.wsgi()})  # type: ignore[method-assign]

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"app": "flask"}

    @app.post("/chat")
    @guard.feature("chat")
    def chat() -> dict[str, str]:
        made = openai.chat.completions.create(
            model=OPENAI_MODEL,
            messages=[{"role": "user", "content": request.json["text"]}],
            max_completion_tokens=MAX_TOKENS,
        )
        return {"text": made.choices[0].message.content or ""}

    @app.post("/chat/stream")
    @guard.feature("chat")
    def chat_stream() -> Response:
        # The call is made here, before the response starts: a refusal is a clean 429, not an event.
        stream = anthropic.messages.create(
            model=ANTHROPIC_MODEL,
            max_tokens=MAX_TOKENS,
            messages=[{"role": "user", "content": request.json["text"]}],
            stream=True,
        )

        def events() -> Iterator[str]:
            for event in stream:
                if event.type == "content_block_delta" and event.delta.type == "text_delta":
                    yield f"data: {event.delta.text}\n\n"

        return Response(events(), mimetype="text/event-stream")

    @app.post("/summarize")
    @guard.budget("$0.03/day", per="user")
    @guard.feature("summarize")
    def summarize() -> dict[str, str]:
        made = anthropic.messages.create(
            model=ANTHROPIC_MODEL,
            max_tokens=MAX_TOKENS,
            messages=[{"role": "user", "content": f"Summarize in two sentences: {request.json['text']}"}],
        )
        return {"text": "".join(block.text for block in made.content if block.type == "text")}

    @app.post("/notes/<note>/ask")
    @guard.feature("ask")
    def ask(note: str) -> dict[str, str]:
        made = openai.responses.create(
            model=OPENAI_MODEL,
            instructions=f"Answer from the note {note}.",
            input=request.json["text"],
            max_output_tokens=MAX_TOKENS,
        )
        return {"text": made.output_text}

    @app.get("/me/budgets")
    def my_budgets() -> list[dict[str, Any]]:
        standings = guard.standings(user=signed_in_user(request))
        return [
            {"budget": str(each.budget), "spent": str(each.spent), "remaining": str(each.remaining)}
            for each in standings
        ]

    return app
