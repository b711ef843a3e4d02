"""Telling OpenTelemetry and Prometheus what calls cost."""
