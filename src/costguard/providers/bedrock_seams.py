"""The wrapper around botocore's one function for every operation of every service, and aiobotocore's."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any

from costguard.providers.attempts import count_attempt, counted
from costguard.providers.bedrock_bodies import tap_body, tap_events
from costguard.providers.bedrock_request import Sending, begin
from costguard.providers.flight import Flight
from costguard.providers.policy import Policy
from costguard.providers.rows import Provider

log = logging.getLogger("costguard.providers")

SERVICE = "bedrock-runtime"
_OPERATIONS = frozenset(("Converse", "ConverseStream", "InvokeModel", "InvokeModelWithResponseStream"))

PolicyOf = Callable[[Any], Policy | None]
Function = Callable[..., Any]


def make_api_call(original: Function, *, row: Provider, policy_of: PolicyOf) -> Function:
    """Wrap the sync function, or aiobotocore's async one: its class is a subclass of botocore's."""
    if iscoroutinefunction(original):
        return _async_api_call(original, row=row, policy_of=policy_of)

    @wraps(original)
    def _make_api_call(self: Any, operation_name: str, api_params: Any) -> Any:
        # All of AWS passes here.
        begun = _begin(row, policy_of, self, operation_name, api_params) if operation_name in _OPERATIONS else None
        if begun is None:
            return original(self, operation_name, api_params)
        sending, flight = begun
        if flight.holds:
            flight.policy.reserve(flight.call)
        flight.sent()
        try:
            with counted(flight):
                response = original(self, operation_name, sending.params)
        except BaseException as error:
            flight.failed(error, status=status_of(error))
            raise
        _arrived(flight, row, operation_name, sending, response)
        return response

    return _make_api_call


def _async_api_call(original: Function, *, row: Provider, policy_of: PolicyOf) -> Function:
    @wraps(original)
    async def _make_api_call(self: Any, operation_name: str, api_params: Any) -> Any:
        begun = _begin(row, policy_of, self, operation_name, api_params) if operation_name in _OPERATIONS else None
        if begun is None:
            return await original(self, operation_name, api_params)
        sending, flight = begun
        flight.is_async = True
        if flight.holds:
            await flight.policy.reserve_async(flight.call)
        flight.sent()
        try:
            with counted(flight):
                response = await original(self, operation_name, sending.params)
        except BaseException as error:
            flight.failed(error, status=status_of(error))
            if isinstance(error, Exception) and flight.waits:
                await flight.settled()
            raise
        _arrived(flight, row, operation_name, sending, response)
        if flight.waits:
            await flight.settled()
        return response

    return _make_api_call


def send(original: Function, *, row: Provider, policy_of: PolicyOf) -> Function:
    """Count an attempt; botocore may ask other services meanwhile, for credentials."""

    @wraps(original)
    def _send(self: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(self, "_endpoint_prefix", None) == SERVICE:
            count_attempt()
        # aiobotocore's is a coroutine, which whoever called awaits.
        return original(self, *args, **kwargs)

    return _send


def status_of(error: BaseException) -> int | None:
    """The HTTP status of a `ClientError`."""
    response = getattr(error, "response", None)
    metadata = response.get("ResponseMetadata") if isinstance(response, dict) else None
    status = metadata.get("HTTPStatusCode") if isinstance(metadata, dict) else None
    return status if type(status) is int and status >= 400 else None


def _begin(
    row: Provider, policy_of: PolicyOf, client: Any, operation: str, params: Any
) -> tuple[Sending, Flight] | None:
    if client.meta.service_model.service_name != SERVICE:
        return None
    policy = policy_of(client)
    if policy is None or not isinstance(params, dict):
        return None
    try:
        sending = Sending(operation, params)
        flight = begin(row, policy, operation, sending)
    except Exception:
        log.exception("costguard cannot read a request to %s and lets it pass unseen", row.name)
        return None
    return None if flight is None else (sending, flight)


def _arrived(flight: Flight, row: Provider, operation: str, sending: Sending, response: Any) -> None:
    try:
        if operation == "Converse":
            flight.read(response)
        elif operation == "InvokeModel":
            route = row.route("post", f"{operation}/{sending.kind}")
            tap_body(flight, route, response)
        else:
            tap_events(flight, response["stream" if operation == "ConverseStream" else "body"])
    except Exception:
        log.exception("costguard could not read the answer to a call to %s", flight.call.model)
        flight.read(None)
