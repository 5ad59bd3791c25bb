"""Source and sink of the Kafka client that the settings name."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from monitor.config import BatchSettings, KafkaSettings
from monitor.errors import SettingsError
from monitor.stream.contracts import Member
from monitor.stream.link import BrokerLink
from monitor.stream.polling import PollingSource
from monitor.stream.producing import Producer
from monitor.stream.sink import PublishingSink
from monitor.telemetry.health import Health
from monitor.telemetry.metrics import Metrics


def build_source(
    kafka: KafkaSettings,
    batch: BatchSettings,
    metrics: Metrics,
    health: Health,
    link: BrokerLink,
) -> PollingSource:
    """A source that has not started yet.

    Raises:
        SettingsError: the client is not installed.
    """
    if kafka.client == "confluent-kafka":
        with confluent_extra():
            from monitor.stream.confluent_source import ConfluentSource
        return ConfluentSource(kafka, batch, metrics, health, link)
    from monitor.stream.source import KafkaSource

    return KafkaSource(kafka, batch, metrics, health, link)


def build_sink(
    kafka: KafkaSettings, member: Member, verify: Callable[[], None], health: Health
) -> PublishingSink:
    """A sink for what comes of the member's records, that has not connected yet.

    Raises:
        SettingsError: the client is not installed.
    """
    return PublishingSink(kafka, build_producer(kafka), member, verify, health)


def build_producer(kafka: KafkaSettings) -> Producer:
    """A producer of the client that the settings name, that is not open yet.

    Raises:
        SettingsError: the client is not installed.
    """
    if kafka.client == "confluent-kafka":
        with confluent_extra():
            from monitor.stream.confluent_producer import ConfluentProducer
        return ConfluentProducer(kafka)
    from monitor.stream.kafka_producer import KafkaPythonProducer

    return KafkaPythonProducer(kafka)


@contextmanager
def confluent_extra() -> Iterator[None]:
    """Around an import of what the extra brings; raises SettingsError where it is missing."""
    try:
        yield
    except ImportError as error:
        raise SettingsError(
            "kafka.client confluent-kafka: is not installed; run pip install "
            "'anomaly-monitor[confluent]', or leave the setting out."
        ) from error
