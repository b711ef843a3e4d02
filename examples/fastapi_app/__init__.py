"""A FastAPI app that calls OpenAI and Anthropic, with costguard."""
