"""A provider on loopback whose every answer costs what a test says, and that counts what it sold."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

GPT_4O_OUTPUT_TOKENS_FOR_TEN_CENTS = 10_000
"""gpt-4o's output is $10 for a million tokens."""


class Provider:
    """Speaks OpenAI's chat completions. `usage` gives prompt and completion tokens of the n-th answer.

    sold: answers sent in full
    gate: answers wait for it, so that a test can have many calls in flight at once
    """

    def __init__(self, usage: Callable[[int], tuple[int, int]] | None = None) -> None:
        self._usage = usage or (lambda _: (0, GPT_4O_OUTPUT_TOKENS_FOR_TEN_CENTS))
        self._lock = threading.Lock()
        self.sold = 0
        self.asked = 0
        self.gate = threading.Event()
        self.gate.set()
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *args: object) -> None:
                pass

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                provider._answer(self)

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        with self._lock:
            number = self.asked
            self.asked += 1
        self.gate.wait(30)
        prompt, completion = self._usage(number)
        body = json.dumps(
            {
                "id": f"chatcmpl-{number}",
                "object": "chat.completion",
                "created": 1_770_000_000,
                "model": "gpt-4o-2024-08-06",
                "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "ok"}}],
                "usage": {
                    "prompt_tokens": prompt,
                    "completion_tokens": completion,
                    "total_tokens": prompt + completion,
                },
            }
        ).encode()
        handler.send_response(200)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        # Counted before the last byte: the caller may look the moment it has the answer.
        with self._lock:
            self.sold += 1
        try:
            handler.wfile.write(body)
        except OSError:
            with self._lock:
                self.sold -= 1
            raise

    def __enter__(self) -> Provider:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
