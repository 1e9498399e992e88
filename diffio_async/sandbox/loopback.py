"""Connections that reach this machine alone, whatever a URL or its DNS records say."""

import ipaddress
import socket
from typing import Any

import aiohttp


class NotLoopback(OSError):
    """The address to connect to is not a loopback address."""


def is_loopback_address(text: str) -> bool:
    """Return whether an IP address in canonical form is a loopback address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def loopback_socket(info: tuple[Any, Any, int, str, tuple[Any, ...]]) -> socket.socket:
    """Create the socket for one resolved address: aiohttp's `socket_factory`.

    This is the last step before connecting, so a name whose answer changes, a number that only
    the system reads as an address, and an address behind a redirect all end here.

    Raises:
        NotLoopback: The address is not a loopback address.
    """
    family, kind, protocol, _name, address = info
    if not is_loopback_address(str(address[0])):
        # The same text for each address of a host, so that the connector reports one error.
        raise NotLoopback("its address is not on this machine")
    return socket.socket(family, kind, protocol)


def refused_reason(error: BaseException) -> str | None:
    """Return why a loopback-only request can never succeed; None where it may later."""
    if isinstance(error, aiohttp.InvalidURL):
        return "its address is not in a usual form"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name does not resolve to this machine"
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, NotLoopback):
        return str(error.os_error)
    return None


def failure_reason(error: BaseException) -> str:
    """Return in a few words why no response came."""
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, aiohttp.ClientSSLError):
        return "TLS failed"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "name not found"
    if isinstance(error, aiohttp.ClientConnectorError):
        refused = isinstance(error.os_error, ConnectionRefusedError)
        return "refused" if refused else str(error.os_error.strerror or "not reached")
    return "the connection was closed without a response"
