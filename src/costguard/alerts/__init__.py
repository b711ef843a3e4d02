"""Crossings told to people: delivered off the request, once."""
