"""Two small apps, a local LLM provider and a Slack-compatible receiver: what `make demo` runs."""
