"""Whether the brokers can do what `kafka.delivery` asks for."""

from kafka.protocol.producer import (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    EndTxnRequest,
    InitProducerIdRequest,
    TxnOffsetCommitRequest,
)

from monitor.config import KafkaSettings
from monitor.errors import BrokerError
from monitor.stream.checks import cluster

NEEDED = {
    InitProducerIdRequest: 0,
    AddPartitionsToTxnRequest: 0,
    AddOffsetsToTxnRequest: 0,
    EndTxnRequest: 0,
    TxnOffsetCommitRequest: 3,  # the first that says which generation of the group commits
}
"""The requests of a transaction, and the oldest version that is of use."""


def lacks_for_transactions(kafka: KafkaSettings) -> list[str]:
    """The requests that the broker does not know, or not in a version of use.

    Raises:
        BrokerAwayError, BrokerError: as `monitor.stream.checks.cluster`.
    """
    with cluster(kafka) as admin:
        known = admin.api_versions()
    newest = {int(key): versions[1] for key, versions in known.items()}
    return [
        request.__name__.removesuffix("Request")
        for request, version in NEEDED.items()
        if newest.get(request.API_KEY, -1) < version
    ]


def require_transactions(kafka: KafkaSettings) -> None:
    """Raises BrokerError where the broker cannot commit outputs and offsets together."""
    if lacks := lacks_for_transactions(kafka):
        raise BrokerError(
            f"kafka.delivery exactly_once: {kafka.bootstrap_servers} is too old for it (it lacks "
            f"{', '.join(lacks)}); it takes Apache Kafka 2.5 or newer, or set kafka.delivery to "
            "at_least_once."
        )
