"""Who took part in an anomalous event, as OCSF's evidences and observables."""

import re
from collections.abc import Iterator

from monitor.batch import EventIdentity
from monitor.contracts.network import Flow, IpAddress, parse_ip
from monitor.contracts.ocsf import (
    AnomalyFacts,
    ConnectionInfo,
    Endpoint,
    Evidence,
    Observable,
    ObservableType,
    Resource,
)
from monitor.contracts.text import clean

_HOSTNAME = re.compile(r"(?=.{1,253}$)([\w-]{1,63}\.)*(?=[\w-]*[A-Za-z])[\w-]{1,63}\.?", re.ASCII)


def evidence_of(event: EventIdentity, flow: Flow, facts: AnomalyFacts) -> Evidence:
    """The endpoints and other entities that an event names, or its features where it names none."""
    source = _endpoint(event.source_address, flow.source, flow.source_port)
    destination = _endpoint(event.destination_address, flow.destination, flow.destination_port)
    resources = tuple(_resource(*entity) for entity in event.entities.items() if entity[1])
    return Evidence(
        src_endpoint=source,
        dst_endpoint=destination,
        connection_info=_connection(flow, facts.record_id) if source and destination else None,
        resources=resources or None,
        # OCSF wants one of these or an endpoint in every evidence; resources alone do not do.
        data=None if source or destination else {f.name: f.observed for f in facts.features},
    )


def _endpoint(address: str | None, ip: IpAddress | None, port: int | None) -> Endpoint | None:
    if not address:
        return None
    if ip:
        return Endpoint(ip=str(ip), port=port)
    if _HOSTNAME.fullmatch(address):
        return Endpoint(hostname=address, port=port)
    return Endpoint(name=clean(address), port=port)


def _connection(flow: Flow, record_id: str | None) -> ConnectionInfo:
    address = flow.source or flow.destination
    return ConnectionInfo(
        uid=record_id,
        community_uid=flow.community_id,
        protocol_num=flow.protocol,
        protocol_name=flow.protocol_name,
        protocol_ver_id=address.version if address else 0,
        direction_id=0,
    )


def _resource(label: str, value: str) -> Resource:
    ip = parse_ip(value)
    return Resource(type=clean(label), name=clean(value), ip=str(ip) if ip else None)


def observables_of(
    evidence: Evidence, record_id: str | None, community_id: str | None
) -> Iterator[Observable]:
    """One for each attribute that an analyst would search other logs for."""
    sides = {"src_endpoint": evidence.src_endpoint, "dst_endpoint": evidence.dst_endpoint}
    for side, endpoint in sides.items():
        if endpoint:
            yield _name_or_address(f"evidences[0].{side}", endpoint, ObservableType.OTHER)
    for i, resource in enumerate(evidence.resources or ()):
        path = f"evidences[0].resources[{i}]"
        yield _name_or_address(path, resource, ObservableType.RESOURCE_NAME)
    path = "evidences[0].connection_info.community_uid"
    for name, caption, value in (
        (path, "Community ID", community_id),
        ("metadata.original_event_uid", "Record ID", record_id),
    ):
        if value:
            yield Observable(name=name, type_id=ObservableType.OTHER, type=caption, value=value)


def _name_or_address(
    path: str, named: Endpoint | Resource, type_of_names: ObservableType
) -> Observable:
    types = {
        "ip": ObservableType.IP_ADDRESS,
        "hostname": ObservableType.HOSTNAME,
        "name": type_of_names,
    }
    attribute = next(attribute for attribute in types if getattr(named, attribute, None))
    return Observable(
        name=f"{path}.{attribute}",
        type_id=types[attribute],
        type=types[attribute].caption,
        value=getattr(named, attribute),
    )
