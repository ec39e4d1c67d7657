"""Where a webhook may connect: a name is resolved once, judged, and the connection goes to the address judged.

An alert's target is configuration, but configuration is copied, templated and mistyped, and names change what they
point to (DNS rebinding). So loopback, private, link-local (cloud metadata), shared, multicast and reserved addresses
are refused unless a network that holds them is allowed by name.
"""

from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Final

from alerting.channels.base import PermanentFailure, foreign_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

#: RFC 6052: the last 32 bits are an IPv4 address, which is where a NAT64 gateway connects.
_NAT64: Final = IPv6Network("64:ff9b::/96")
#: Not public, whatever the Python of the day says: protocol assignments (RFC 6890), documentation (RFC 9637), relays of
#: 6to4 (RFC 7526), NAT64 of one's own network (RFC 8215), and the metadata service that has a public address (Azure's).
_NOT_PUBLIC: Final = tuple(
    ip_network(text) for text in ("192.0.0.0/24", "3fff::/20", "192.88.99.0/24", "64:ff9b:1::/48", "168.63.129.16/32")
)
#: RFC 4380: Teredo names a server and a client; neither is a target of ours.
_TEREDO: Final = IPv6Network("2001::/32")


async def resolve(host: str, port: int, allowed: Sequence[Network] = ()) -> list[str]:
    """The addresses of ``host`` one may connect to, in the resolver's order; never empty.

    Raises:
        TemporaryFailure: the name does not resolve now.
        PermanentFailure: it resolves, but to no address that may be connected to.
    """
    with foreign_errors(f"{host}:{port}"):
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    usable = [address for address in addresses if may_connect(address, allowed)]
    if not usable:
        raise PermanentFailure(
            f"{host}:{port}: refused to connect to {', '.join(addresses) or 'no address'}: not a public address "
            "(allow its network in the channel's allow_networks if this is meant)"
        )
    return usable


def may_connect(address: str, allowed: Sequence[Network] = ()) -> bool:
    """Whether ``address`` is public, or within a network of ``allowed``.

    An IPv6 address that carries an IPv4 one (mapped, 6to4, NAT64) is judged as the IPv4 address it reaches.
    """
    parsed = _reached(ip_address(address))
    if any(parsed.version == network.version and parsed in network for network in allowed):
        return True
    if any(parsed.version == network.version and parsed in network for network in _NOT_PUBLIC):
        return False
    if isinstance(parsed, IPv6Address) and (parsed.is_site_local or parsed in _TEREDO):
        return False
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


def _reached(address: Address) -> Address:
    if isinstance(address, IPv4Address):
        return address
    if embedded := (address.ipv4_mapped or address.sixtofour):
        return embedded
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address
