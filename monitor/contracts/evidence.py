"""Who took part in an anomalous event, as OCSF's evidences and observables.

Both are what `monitor.contracts.ocsf.Evidence` and `Observable` read, as JSON holds it.
"""

import re
from collections.abc import Iterator
from typing import Any

from monitor.batch import EventIdentity
from monitor.contracts.network import Flow, IpAddress, parse_ip
from monitor.contracts.ocsf import ObservableType
from monitor.contracts.text import FeatureValue, clean

Json = dict[str, Any]

_HOSTNAME = re.compile(r"(?=.{1,253}$)([\w-]{1,63}\.)*(?=[\w-]*[A-Za-z])[\w-]{1,63}\.?", re.ASCII)


def known(**attributes: Any) -> Json:
    """An object without the attributes that are unknown."""
    return {name: value for name, value in attributes.items() if value is not None}


def evidence_of(
    event: EventIdentity, flow: Flow, record_id: str | None, features: dict[str, FeatureValue]
) -> Json:
    """The endpoints and other entities that an event names, or its features where it names none."""
    source = _endpoint(event.source_address, flow.source, flow.source_port)
    destination = _endpoint(event.destination_address, flow.destination, flow.destination_port)
    resources = [_resource(*entity) for entity in event.entities.items() if entity[1]]
    return known(
        src_endpoint=source,
        dst_endpoint=destination,
        connection_info=_connection(flow, record_id) if source and destination else None,
        resources=resources or None,
        # OCSF wants one of these or an endpoint in every evidence; resources alone do not do.
        data=None if source or destination else features,
    )


def _endpoint(address: str | None, ip: IpAddress | None, port: int | None) -> Json | None:
    if not address:
        return None
    if ip:
        return known(ip=str(ip), port=port)
    if _HOSTNAME.fullmatch(address):
        return known(hostname=address, port=port)
    return known(name=clean(address), port=port)


def _connection(flow: Flow, record_id: str | None) -> Json:
    address = flow.source or flow.destination
    return known(
        uid=record_id,
        community_uid=flow.community_id,
        protocol_num=flow.protocol,
        protocol_name=flow.protocol_name,
        protocol_ver_id=address.version if address else 0,
        direction_id=0,
    )


def _resource(label: str, value: str) -> Json:
    ip = parse_ip(value)
    return known(type=clean(label), name=clean(value), ip=str(ip) if ip else None)


def observables_of(
    evidence: Json, record_id: str | None, community_id: str | None
) -> Iterator[Json]:
    """One for each attribute that an analyst would search other logs for."""
    for side in ("src_endpoint", "dst_endpoint"):
        if endpoint := evidence.get(side):
            yield _name_or_address(f"evidences[0].{side}", endpoint, ObservableType.OTHER)
    for i, resource in enumerate(evidence.get("resources", ())):
        path = f"evidences[0].resources[{i}]"
        yield _name_or_address(path, resource, ObservableType.RESOURCE_NAME)
    if community_id:
        path = "evidences[0].connection_info.community_uid"
        yield _observable(path, ObservableType.OTHER, community_id, "Community ID")
    if record_id:
        yield _observable(
            "metadata.original_event_uid", ObservableType.OTHER, record_id, "Record ID"
        )


def _name_or_address(path: str, named: Json, type_of_names: ObservableType) -> Json:
    for attribute, kind in (
        ("ip", ObservableType.IP_ADDRESS),
        ("hostname", ObservableType.HOSTNAME),
    ):
        if attribute in named:
            return _observable(f"{path}.{attribute}", kind, named[attribute])
    return _observable(f"{path}.name", type_of_names, named["name"])


def _observable(path: str, kind: ObservableType, value: str, caption: str = "") -> Json:
    return {"name": path, "type_id": int(kind), "type": caption or kind.caption, "value": value}
