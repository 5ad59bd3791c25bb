"""Addresses, protocols and Community IDs, read from what an event claims they are."""

from base64 import b64encode
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha1
from ipaddress import IPv4Address, IPv6Address, ip_address
from struct import pack

from communityid import PORT_PROTOS, icmp, icmp6

from monitor.batch import EventIdentity
from monitor.contracts.text import clean

IpAddress = IPv4Address | IPv6Address

ICMP = 1
ICMP_V6 = 58
MAX_PORT = 65_535
_LONGEST_ADDRESS = 64
_SEED_BYTES = 2
_ICMP_PORTS = {ICMP: icmp.get_port_equivalents, ICMP_V6: icmp6.get_port_equivalents}
"""Of a type and a code; the third value tells a message that no answer is known of."""

_PROTOCOLS = {  # IANA, assigned Internet protocol numbers
    "icmp": ICMP,
    "igmp": 2,
    "tcp": 6,
    "udp": 17,
    "dccp": 33,
    "ipv6": 41,
    "gre": 47,
    "esp": 50,
    "ah": 51,
    "ipv6-icmp": ICMP_V6,
    "ospf": 89,
    "pim": 103,
    "vrrp": 112,
    "sctp": 132,
    "udplite": 136,
}
_NAMES = {number: name for name, number in _PROTOCOLS.items()}
_ALIASES = {"icmp6": ICMP_V6, "icmpv6": ICMP_V6, "ospfigp": 89}


@dataclass(frozen=True, slots=True)
class Flow:
    """The network side of an event, as far as it makes sense.

    Attributes:
        source, destination: only where they are IP addresses.
        protocol: IANA number; protocol_name: its name in lower case, or what the event says.
        community_id: version 1, seed 0; None where a part of it is unknown.
    """

    source: IpAddress | None
    source_port: int | None
    destination: IpAddress | None
    destination_port: int | None
    protocol: int | None
    protocol_name: str | None
    community_id: str | None

    @classmethod
    def of(cls, event: EventIdentity) -> "Flow":
        """Read an event's identity; what is no address, port or protocol is left out."""
        source, destination = parse_ip(event.source_address), parse_ip(event.destination_address)
        ports = _port(event.source_port), _port(event.destination_port)
        protocol = _protocol_number(event.protocol, source or destination)
        return cls(
            source,
            ports[0],
            destination,
            ports[1],
            protocol,
            _protocol_name(protocol, event.protocol),
            community_id(source, ports[0], destination, ports[1], protocol),
        )


def parse_ip(text: str | None) -> IpAddress | None:
    """The address without its zone, or None if the text is no IP address."""
    return None if text is None or len(text) > _LONGEST_ADDRESS else _parse_ip(text)


@lru_cache(maxsize=4096)
def _parse_ip(text: str) -> IpAddress | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return address if isinstance(address, IPv4Address) else IPv6Address(int(address))


def community_id(
    source: IpAddress | None,
    source_port: int | None,
    destination: IpAddress | None,
    destination_port: int | None,
    protocol: int | None,
) -> str | None:
    """Community ID v1 (Corelight's specification), the same for both directions of a flow.

    For ICMP the ports are type and code, as Zeek writes them. Protocols without ports need none.
    Written out because the library, which the tests compare it with, takes ten times as long.
    """
    if source is None or destination is None or protocol is None:
        return None
    if source.version != destination.version:
        return None
    ends = [(source.packed, b""), (destination.packed, b"")]
    is_one_way = False
    if protocol in PORT_PROTOS:
        if source_port is None or destination_port is None:
            return None
        ports = source_port, destination_port
        if protocol in _ICMP_PORTS:
            *ports, is_one_way = _ICMP_PORTS[protocol](*ports)
        ends = [(address, pack("!H", port)) for (address, _), port in zip(ends, ports, strict=True)]
    if not is_one_way:
        ends.sort()
    (first, first_port), (second, second_port) = ends
    content = (bytes(_SEED_BYTES), first, second, bytes((protocol, 0)), first_port, second_port)
    digest = sha1(b"".join(content), usedforsecurity=False).digest()
    return f"1:{b64encode(digest).decode()}"


def _port(port: int | None) -> int | None:
    return port if port is not None and 0 <= port <= MAX_PORT else None


def _protocol_number(protocol: str | None, address: IpAddress | None) -> int | None:
    name = (protocol or "").strip().lower()
    if name.isascii() and name.isdecimal() and len(name) <= 3:
        return int(name) if int(name) <= 255 else None
    number = _PROTOCOLS.get(name, _ALIASES.get(name))
    # Zeek calls ICMPv6 "icmp" too: only the addresses tell them apart.
    is_v6 = address is not None and address.version == 6
    return ICMP_V6 if number == ICMP and is_v6 else number


def _protocol_name(number: int | None, claimed: str | None) -> str | None:
    if number in _NAMES:
        return _NAMES[number]
    return clean(claimed.lower()) if claimed and number is None else None
