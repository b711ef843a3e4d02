"""Peers whose baggage is believed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TypeAlias

from costguard.errors import ConfigError

Trust: TypeAlias = Iterable[str] | Callable[[str], bool]
"""Networks such as "10.0.0.0/8", or a callable of a peer's address."""


def trusting(trust: Trust) -> Callable[[str], bool]:
    """Whether the baggage of a peer with this address is believed. Raises ConfigError for what is no network."""
    if callable(trust):
        return trust
    if isinstance(trust, str):
        raise ConfigError(f'baggage={trust!r} is one string; give a list of networks, such as ["10.0.0.0/8"]')
    networks = [_network(text) for text in trust]

    @lru_cache(maxsize=1024)
    def trusted(address: str) -> bool:
        try:
            at = ip_address(address.partition("%")[0])
        except ValueError:
            # A UNIX socket, a test client's name, or nothing: not known who it is.
            return False
        # A server that listens on both families sees IPv4 peers as ::ffff:10.1.2.3.
        at = getattr(at, "ipv4_mapped", None) or at
        return any(at in network for network in networks)

    return trusted


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except (ValueError, TypeError):
        raise ConfigError(
            f'baggage= has {text!r}, which is no network; write it like "10.0.0.0/8" or "192.0.2.7"'
        ) from None
