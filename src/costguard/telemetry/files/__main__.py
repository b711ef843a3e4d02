"""Prints where the files are: `python -m costguard.telemetry.files`."""

from __future__ import annotations

import sys

from costguard.telemetry.files import DASHBOARD, RULES

sys.stdout.write(f"{DASHBOARD}\n{RULES}\n")
