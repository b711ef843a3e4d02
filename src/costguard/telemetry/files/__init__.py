"""Files for other programs: a Grafana dashboard and rules for Prometheus. `python -m costguard.telemetry.files`."""

from __future__ import annotations

from pathlib import Path

DASHBOARD = Path(__file__).with_name("grafana-dashboard.json")
"""Import it in Grafana, or let its provisioning read it; the data source is a variable."""

RULES = Path(__file__).with_name("prometheus-rules.yml")
"""For `rule_files:` of Prometheus."""
