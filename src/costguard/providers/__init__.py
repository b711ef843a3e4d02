"""Where each SDK is patched: calls are read, held, metered and settled; what the caller gets is the SDK's own."""
