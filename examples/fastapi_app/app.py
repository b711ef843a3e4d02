"""A small notes assistant: FastAPI, async and sync views, plain and streamed answers.

uvicorn --factory examples.fastapi_app.app:create_app
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from anthropic import AsyncAnthropic
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from costguard import Guard
from costguard.dashboard import Dashboard
from costguard.web.fastapi import install
from examples.shared import (
    ANTHROPIC_MODEL,
    EMBEDDING_MODEL,
    MAX_TOKENS,
    OPENAI_MODEL,
    open_guard,
    signed_in_user,
    who_sees_costs,
)


class Ask(BaseModel):
    text: str


class Answer(BaseModel):
    text: str


def create_app(guard: Guard | None = None) -> FastAPI:
    guard = guard or open_guard()
    openai, blocking_openai, anthropic = AsyncOpenAI(), OpenAI(), AsyncAnthropic()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        guard.close()  # tells what is still to be told

    app = FastAPI(title="Notes assistant", lifespan=lifespan)
    install(app, guard, user=signed_in_user, environment="production", cost_headers=True)
    app.mount("/costs", Dashboard(guard, authorize=who_sees_costs))

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"app": "fastapi"}

    @app.post("/chat")
    @guard.feature("chat")
    async def chat(ask: Ask) -> Answer:
        made = await openai.chat.completions.create(
            model=OPENAI_MODEL,
            messages=[{"role": "user", "content": ask.text}],
            max_completion_tokens=MAX_TOKENS,
        )
        return Answer(text=made.choices[0].message.content or "")

    @app.post("/chat/stream")
    @guard.feature("chat")
    async def chat_stream(ask: Ask) -> StreamingResponse:
        # The call is made here, before the response starts: a refusal is a clean 429, not an event.
        stream = await openai.chat.completions.create(
            model=OPENAI_MODEL,
            messages=[{"role": "user", "content": ask.text}],
            max_completion_tokens=MAX_TOKENS,
            stream=True,
            stream_options={"include_usage": True},
        )

        async def events() -> AsyncIterator[str]:
            async for chunk in stream:
                if chunk.choices and chunk.choices[0].delta.content:
                    yield f"data: {chunk.choices[0].delta.content}\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    @app.post("/summarize")
    @guard.budget("$0.03/day", per="user")
    @guard.feature("summarize")
    async def summarize(ask: Ask) -> Answer:
        made = await anthropic.messages.create(
            model=ANTHROPIC_MODEL,
            max_tokens=MAX_TOKENS,
            messages=[{"role": "user", "content": f"Summarize in two sentences: {ask.text}"}],
        )
        return Answer(text="".join(block.text for block in made.content if block.type == "text"))

    @app.post("/notes/{note}/search")
    @guard.feature("search")
    def search(note: str, ask: Ask) -> Answer:
        """Two calls, of two models, in a sync view: the cost in the response header is that of both."""
        found = blocking_openai.embeddings.create(model=EMBEDDING_MODEL, input=ask.text)
        made = blocking_openai.chat.completions.create(
            model=OPENAI_MODEL,
            messages=[{"role": "user", "content": f"From {len(found.data)} passages of {note}: {ask.text}"}],
            max_completion_tokens=MAX_TOKENS,
        )
        return Answer(text=made.choices[0].message.content or "")

    @app.get("/me/budgets")
    def my_budgets(request: Request) -> list[dict[str, Any]]:
        standings = guard.standings(user=signed_in_user(request))
        return [{"budget": str(each.budget), "spent": each.spent, "remaining": each.remaining} for each in standings]

    return app
