"""Tags in, refusal out: middleware for ASGI and WSGI, conveniences for frameworks."""
