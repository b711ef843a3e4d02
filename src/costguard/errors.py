"""Every error costguard raises on purpose.

    CostGuardError
    ├── BudgetExceeded      a call does not fit a budget: HTTP 429
    ├── UnpricedModel       a model has no price and the policy is to refuse: HTTP 422
    ├── StoreUnavailable    the ledger cannot be reached and the policy is to refuse: HTTP 503
    ├── MissingExtra        an optional package is not installed
    └── ConfigError         a setting is wrong (also a ValueError)

None derives from an SDK's error: SDKs, tenacity and agent loops retry their own rate-limit errors,
and a doomed call must be asked once.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Protocol


class StandingLike(Protocol):
    """What an error needs to know of a `costguard.Standing`, which lives on a floor above."""

    @property
    def budget(self) -> object: ...
    @property
    def payer(self) -> str: ...
    @property
    def limit(self) -> Decimal: ...
    @property
    def spent(self) -> Decimal: ...
    @property
    def held(self) -> Decimal: ...
    @property
    def remaining(self) -> Decimal: ...
    @property
    def resets_at(self) -> datetime | None: ...


class CostGuardError(Exception):
    """Base of all errors raised by costguard."""


class BudgetExceeded(CostGuardError):
    """A call was refused before it was made, because its hold does not fit a budget.

    standing:     the budget that refused, and where it stands (`Standing`)
    retry_after:  seconds until trying again can help: the reset of the window when the money is
                  spent; a second or two when running calls only hold it (`busy`)
    busy:         True when money is left and running calls hold it
    needed:       USD that the call wanted to hold, None when only the door was checked
    """

    def __init__(
        self,
        message: str,
        *,
        standing: StandingLike,
        retry_after: int,
        busy: bool = False,
        needed: Decimal | None = None,
    ) -> None:
        super().__init__(message)
        self.standing = standing
        self.retry_after = retry_after
        self.busy = busy
        self.needed = needed


class UnpricedModel(CostGuardError):
    """No price is known for a model and `on_unpriced="refuse"`; `.provider` and `.model` say which."""

    def __init__(self, message: str, *, provider: str, model: str) -> None:
        super().__init__(message)
        self.provider = provider
        self.model = model


class StoreUnavailable(CostGuardError):
    """The ledger's store cannot be reached or written; `.retry_after` is in seconds."""

    def __init__(self, message: str, *, retry_after: int = 5) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class MissingExtra(CostGuardError, ImportError):
    """A package that an optional part needs is not installed; the message has the pip line."""

    def __init__(self, package: str, extra: str, needed_for: str) -> None:
        super().__init__(f"{needed_for} needs the package {package!r}: pip install 'llm-costguard[{extra}]'")
        self.extra = extra


class ConfigError(CostGuardError, ValueError):
    """A setting, a budget string or an argument is wrong; the message names it and the way out."""
