"""The dashboard in a real browser, Chromium, mounted in both example apps."""
