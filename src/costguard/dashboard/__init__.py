"""The dashboard: one web application over the reports; `Person` is what `authorize` may return."""

from costguard.dashboard.access import Person
from costguard.dashboard.app import Dashboard

__all__ = ["Dashboard", "Person"]
