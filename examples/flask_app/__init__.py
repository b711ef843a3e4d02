"""A Flask app that calls OpenAI and Anthropic, with costguard."""
