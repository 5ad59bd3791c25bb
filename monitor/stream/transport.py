"""Source and sink of the Kafka client that the settings name."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from monitor.config import BatchSettings, KafkaSettings
from monitor.errors import SettingsError
from monitor.stream.contracts import Offsets
from monitor.stream.link import BrokerLink
from monitor.stream.polling import PollingSource
from monitor.stream.publishing import PublishingSink
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
    kafka: KafkaSettings,
    acknowledge: Callable[[Offsets], None],
    verify: Callable[[], None],
    health: Health,
) -> PublishingSink:
    """A sink that has not connected yet.

    Raises:
        SettingsError: the client is not installed.
    """
    if kafka.client == "confluent-kafka":
        with confluent_extra():
            from monitor.stream.confluent_sink import ConfluentSink
        return ConfluentSink(kafka, acknowledge, verify, health)
    from monitor.stream.sink import KafkaSink

    return KafkaSink(kafka, acknowledge, verify, health)


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
