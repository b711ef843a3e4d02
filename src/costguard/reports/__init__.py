"""Who spent what, on which feature and route, why it changed, and what it will come to.

Each report is a function of a ledger that returns a frozen value with `to_json()`: the command line, the JSON API and
the dashboard show these, and add up nothing themselves. See docs/reports.md.
"""

from costguard.reports.calls import CallPage, CallRow, call, calls
from costguard.reports.explain import Explained, Explanation, explain
from costguard.reports.figures import Spend
from costguard.reports.forecast import Ahead, Forecast, forecast
from costguard.reports.known import known_budgets
from costguard.reports.period import GRAINS, Period, buckets, moment, period
from costguard.reports.ranking import ORDERS
from costguard.reports.refused import Refusals, RefusedReport, refused
from costguard.reports.request_costs import RequestCosts
from costguard.reports.requests import RequestReport, Requests, requests
from costguard.reports.savings import Saved, SavingsReport, cache_savings
from costguard.reports.series import Line, Series, series
from costguard.reports.spend import COLUMNS, SpendReport, spend
from costguard.reports.splitting import PARTS
from costguard.reports.standings import PayerStanding, Risk, RiskReport, at_risk, standings
from costguard.reports.top import Top, top

__all__ = [
    "COLUMNS",
    "GRAINS",
    "ORDERS",
    "PARTS",
    "Ahead",
    "CallPage",
    "CallRow",
    "Explained",
    "Explanation",
    "Forecast",
    "Line",
    "PayerStanding",
    "Period",
    "Refusals",
    "RefusedReport",
    "RequestCosts",
    "RequestReport",
    "Requests",
    "Risk",
    "RiskReport",
    "Saved",
    "SavingsReport",
    "Series",
    "Spend",
    "SpendReport",
    "Top",
    "at_risk",
    "buckets",
    "cache_savings",
    "call",
    "calls",
    "explain",
    "forecast",
    "known_budgets",
    "moment",
    "period",
    "refused",
    "requests",
    "series",
    "spend",
    "standings",
    "top",
]
