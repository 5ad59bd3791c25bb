"""Which client reads and writes."""

import sys

import pytest

from monitor.config import BatchSettings, KafkaSettings
from monitor.errors import SettingsError
from monitor.stream.kafka_producer import KafkaPythonProducer
from monitor.stream.link import BrokerLink
from monitor.stream.source import KafkaSource
from monitor.stream.transport import build_sink, build_source
from monitor.telemetry.health import Health
from monitor.telemetry.metrics import Metrics


def built(client: str | None = None) -> tuple[object, object]:
    chosen = {} if client is None else {"client": client}
    kafka = KafkaSettings(bootstrap_servers="127.0.0.1:1", input_topics=("vectors",), **chosen)
    metrics, health = Metrics(), Health()
    link = BrokerLink(kafka.bootstrap_servers, metrics, health)
    source = build_source(kafka, BatchSettings(), metrics, health, link)
    return source, build_sink(kafka, source, lambda: None, health)._producer


def test_kafka_python_unless_the_settings_say_otherwise() -> None:
    source, producer = built()
    assert isinstance(source, KafkaSource)
    assert isinstance(producer, KafkaPythonProducer)


def test_a_client_that_is_not_installed_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in [name for name in sys.modules if name.startswith("monitor.stream.confluent_")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)  # as if it were not installed
    with pytest.raises(SettingsError, match=r"pip install 'anomaly-monitor\[confluent\]'"):
        built("confluent-kafka")
