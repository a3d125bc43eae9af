"""The client's address, as limits count it."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network, ip_address

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

#: Script threads learn the address from this header: Streamlit passes them only a WebSocket's headers.
CLIENT_HEADER = "x-naru-client"
#: One subscriber usually holds a whole /64 (RFC 6177), so addresses within one count together.
IPV6_PREFIX = 64


class ClientAddressMiddleware:
    """Puts the client's address into a header, replacing any value that the client sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Set the header, and pass the connection on."""
        if scope["type"] in {"http", "websocket"}:
            MutableHeaders(scope=scope)[CLIENT_HEADER] = client_of(scope)
        await self._app(scope, receive, send)


def client_of(scope: Scope) -> str:
    """Return the address that a limit counts: an IPv4 address, or the /64 of an IPv6 address.

    uvicorn has already replaced a proxy's address by the one that the proxy forwarded, if `FORWARDED_ALLOW_IPS` names
    the proxy. Clients without an address (a Unix socket) count as one client, the empty string.
    """
    client = scope.get("client")
    if not client:
        return ""
    host = str(client[0])
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Network((int(address), IPV6_PREFIX), strict=False))
