"""Who spent what, on which feature and route."""
