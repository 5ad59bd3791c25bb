"""Community IDs: sound where a flow is known, absent where it is not."""

import base64
import hashlib
import struct
from ipaddress import IPv4Address, ip_address

import pytest
from communityid import PORT_PROTOS, CommunityID, FlowTuple
from hypothesis import given
from hypothesis import strategies as st

from monitor.batch import EventIdentity
from monitor.contracts.network import Flow, community_id

PORTS = st.integers(0, 65_535)
PROTOCOL_NUMBERS = {"tcp": 6, "udp": 17, "sctp": 132}


def flow(
    source: str | None,
    source_port: int | None,
    destination: str | None,
    destination_port: int | None,
    protocol: str | None,
) -> Flow:
    return Flow.of(
        EventIdentity(
            (),
            source_address=source,
            source_port=source_port,
            destination_address=destination,
            destination_port=destination_port,
            protocol=protocol,
        )
    )


@pytest.mark.parametrize(
    ("source", "source_port", "destination", "destination_port", "protocol", "expected"),
    [  # from the test suite of the Community ID specification
        ("128.232.110.120", 34855, "66.35.250.204", 80, "tcp", "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
        ("66.35.250.204", 80, "128.232.110.120", 34855, "TCP", "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
        ("192.168.1.52", 54585, "8.8.8.8", 53, "17", "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
        ("192.168.170.8", 7, "192.168.170.56", 80, "sctp", "1:jQgCxbku+pNGw8WPbEc/TS/uTpQ="),
        ("192.168.0.89", 8, "192.168.0.1", 0, "icmp", "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
        ("192.168.0.1", 0, "192.168.0.89", 8, "icmp", "1:X0snYXpgwiv9TZtqg64sgzUn6Dk="),
        (
            "fe80::200:86ff:fe05:80da",
            135,
            "fe80::260:97ff:fe07:69ea",
            136,
            "icmp",  # as Zeek calls ICMPv6
            "1:dGHyGvjMfljg6Bppwm3bg0LO8TY=",
        ),
    ],
)
def test_community_ids_agree_with_the_specification(
    source: str,
    source_port: int,
    destination: str,
    destination_port: int,
    protocol: str,
    expected: str,
) -> None:
    found = flow(source, source_port, destination, destination_port, protocol)
    assert found.community_id == expected


@given(
    st.ip_addresses(v=4) | st.ip_addresses(v=6),
    PORTS,
    st.ip_addresses(v=4) | st.ip_addresses(v=6),
    PORTS,
    st.sampled_from(sorted(PROTOCOL_NUMBERS)),
)
def test_community_ids_are_those_of_an_independent_calculation(
    source: object, source_port: int, destination: object, destination_port: int, protocol: str
) -> None:
    there = flow(str(source), source_port, str(destination), destination_port, protocol)
    back = flow(str(destination), destination_port, str(source), source_port, protocol)
    ends = sorted(
        (ip_address(str(a)).packed, port)
        for a, port in ((source, source_port), (destination, destination_port))
    )
    hashed = b"\0\0" + ends[0][0] + ends[1][0] + bytes([PROTOCOL_NUMBERS[protocol], 0])
    hashed += struct.pack("!HH", ends[0][1], ends[1][1])
    digest = base64.b64encode(hashlib.sha1(hashed).digest()).decode()
    mixed = len(ends[0][0]) != len(ends[1][0])
    assert there.community_id == back.community_id == (None if mixed else f"1:{digest}")


@given(
    st.ip_addresses(v=4),
    st.ip_addresses(v=4),
    PORTS | st.integers(0, 20),
    PORTS | st.integers(0, 20),
    st.integers(0, 255) | st.sampled_from([1, 58]),
)
def test_community_ids_are_those_of_the_reference_library(
    source: IPv4Address, destination: IPv4Address, first: int, second: int, protocol: int
) -> None:
    ports = (first, second) if protocol in PORT_PROTOS else ()
    expected = CommunityID().calc(FlowTuple(protocol, source, destination, *ports))
    assert community_id(source, first, destination, second, protocol) == expected


@pytest.mark.parametrize(
    ("source", "source_port", "destination", "destination_port", "protocol"),
    [
        (None, 1, "10.0.0.2", 2, "tcp"),
        ("10.0.0.1", 1, "", 2, "tcp"),
        ("10.0.0.1", None, "10.0.0.2", 2, "tcp"),
        ("10.0.0.1", 1, "10.0.0.2", 65_536, "udp"),
        ("10.0.0.1", 1, "10.0.0.2", -1, "udp"),
        ("10.0.0.1", 1, "10.0.0.2", 2, None),
        ("10.0.0.1", 1, "10.0.0.2", 2, "unknown_transport"),
        ("10.0.0.1", 1, "10.0.0.2", 2, "256"),
        ("10.0.0.1", 1, "10.0.0.2", 2, "٦"),
        ("10.0.0.1", 1, "2001:db8::1", 2, "tcp"),
        ("10.0.0.256", 1, "10.0.0.2", 2, "tcp"),
        ("\0\0\0\0", 1, "\x7f\0\0\x01", 2, "tcp"),
        ("ab\ud800", 1, "10.0.0.2", 2, "tcp"),
        ("1" * 1_000_000, 1, "10.0.0.2", 2, "tcp"),
        ("10.0.0.1\n", 1, "10.0.0.2", 2, "tcp"),
    ],
)
def test_junk_has_no_community_id(
    source: str | None,
    source_port: int | None,
    destination: str | None,
    destination_port: int | None,
    protocol: str | None,
) -> None:
    found = flow(source, source_port, destination, destination_port, protocol)
    assert found.community_id is None


@pytest.mark.parametrize("ports", [(None, None), (0, 0)])
def test_protocols_without_ports_need_none(ports: tuple[int | None, int | None]) -> None:
    found = flow("10.0.0.1", ports[0], "10.0.0.2", ports[1], "gre")
    hashed = b"\0\0" + bytes([10, 0, 0, 1, 10, 0, 0, 2, 47, 0])
    digest = base64.b64encode(hashlib.sha1(hashed).digest()).decode()
    assert found.community_id == f"1:{digest}"


@pytest.mark.parametrize(
    ("protocol", "number", "name"),
    [
        ("TCP", 6, "tcp"),
        ("IPv6-ICMP", 58, "ipv6-icmp"),
        ("icmp6", 58, "ipv6-icmp"),
        ("50", 50, "esp"),
        ("200", 200, None),
        ("Carrier\nPigeon", None, "carrier\\npigeon"),
        ("", None, None),
        (None, None, None),
    ],
)
def test_protocols_are_names_or_iana_numbers(
    protocol: str | None, number: int | None, name: str | None
) -> None:
    found = flow(None, None, None, None, protocol)
    assert (found.protocol, found.protocol_name) == (number, name)
