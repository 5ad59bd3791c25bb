"""The topics that the monitor writes: made as they must be, complained of where they are not."""

import pytest
from kafka.admin import ACLOperation, ResourceType
from structlog.testing import capture_logs

from monitor.config import KafkaSettings
from monitor.errors import BrokerError
from monitor.stream.checks import check_cluster, cluster
from monitor.stream.diagnosis import _kafka
from monitor.stream.topics import topic_configs
from tests.support.brokers import Broker, fresh_name
from tests.support.kafka_server import KafkaServer
from tests.support.secured import allow, log_in

pytestmark = pytest.mark.kafka

NOBODY = {
    "security_protocol": "SASL_PLAINTEXT",
    "sasl_mechanism": "PLAIN",
    "sasl_username": "nobody",
    "sasl_password": "nobody-secret",
}


def settings(address: str, topic: str, **others: object) -> KafkaSettings:
    return KafkaSettings(
        bootstrap_servers=address,
        group_id=f"{topic}-group",
        input_topics=(topic,),
        **{f"{name}_topic": f"{topic}-{name}" for name in ("alert", "dead_letter", "state")},
        journal_topic=f"{topic}-journal",
        **others,
    )


def test_missing_ones_are_made_with_what_they_need(kafka_broker: Broker) -> None:
    topic = kafka_broker.create_topic(partitions=3)
    kafka = settings(kafka_broker.bootstrap_servers, topic)
    with capture_logs() as logs:
        check_cluster(kafka)
        check_cluster(kafka)
    assert not [entry for entry in logs if entry["log_level"] == "warning"]
    assert kafka_broker.end_offsets(kafka.state_topic) == {0: 0, 1: 0, 2: 0}
    assert kafka_broker.end_offsets(kafka.journal_topic) == {0: 0}
    if not kafka_broker.is_apache_kafka:
        return
    with cluster(kafka) as admin:
        configs = topic_configs(admin, [kafka.state_topic, kafka.journal_topic])
    state, journal = configs[kafka.state_topic], configs[kafka.journal_topic]
    assert (state["cleanup.policy"], state["segment.bytes"]) == ("compact", "16777216")
    assert (journal["cleanup.policy"], journal["retention.ms"]) == ("delete", "604800000")
    assert state["max.message.bytes"] == str(4 * 1024 * 1024)


def test_a_topic_kept_in_another_way_is_warned_of(kafka_broker: Broker) -> None:
    if not kafka_broker.is_apache_kafka:
        pytest.skip("the embedded broker keeps everything")
    topic = kafka_broker.create_topic()
    kafka = settings(kafka_broker.bootstrap_servers, topic)
    kafka_broker.create_topic(kafka.state_topic, config={"cleanup.policy": "delete"})
    kafka_broker.create_topic(kafka.journal_topic, config={"cleanup.policy": "compact"})
    with capture_logs() as logs:
        check_cluster(kafka)
    advice = [entry["advice"] for entry in logs if entry["log_level"] == "warning"]
    assert len(advice) == 2
    assert "grows without bound, or forgets incidents" in advice[0]
    assert "set cleanup.policy=delete" in advice[1]
    findings = list(_kafka(kafka))
    assert [finding.text for finding in findings if finding.warning] == advice
    assert all(finding.ok for finding in findings)
    found = {finding.subject: finding for finding in findings}
    assert found["delivery"].text.startswith("exactly once")


def test_an_absurdly_small_topic_is_refused_at_the_start(kafka_broker: Broker) -> None:
    if not kafka_broker.is_apache_kafka:
        pytest.skip("the embedded broker has no limit")
    topic = kafka_broker.create_topic()
    kafka = settings(kafka_broker.bootstrap_servers, topic)
    kafka_broker.create_topic(kafka.alert_topic, config={"max.message.bytes": "2000"})
    with pytest.raises(
        BrokerError, match=r"-alert': takes records of 2,000 bytes at most"
    ) as caught:
        check_cluster(kafka)
    assert "raise its max.message.bytes to 65,536 or more" in str(caught.value)


def test_missing_rights_are_named_one_by_one(secured_kafka: KafkaServer) -> None:
    admin = log_in(secured_kafka, "admin")
    topic = admin.create_topic(fresh_name("rights"))
    kafka = settings(secured_kafka.address("LOGIN"), topic, **NOBODY)
    own = (kafka.alert_topic, kafka.dead_letter_topic, kafka.state_topic, kafka.journal_topic)
    for name in own:
        admin.create_topic(name)
        allow(secured_kafka, "nobody", ResourceType.TOPIC, name, ACLOperation.WRITE)
    allow(secured_kafka, "nobody", ResourceType.TOPIC, topic, ACLOperation.READ)
    allow(secured_kafka, "nobody", ResourceType.GROUP, kafka.group_id, ACLOperation.READ)

    found = {finding.subject: finding for finding in _kafka(kafka)}
    assert f"{kafka.state_topic}': user 'nobody' has no right to READ it" in found["state"].text
    assert "has no right to WRITE it" in found["delivery"].text
    assert f"best for all that begin with '{kafka.group_id}-'" in found["delivery"].text
    assert not found["state"].ok
    assert not found["delivery"].ok

    allow(secured_kafka, "nobody", ResourceType.TOPIC, kafka.state_topic, ACLOperation.READ)
    allow(
        secured_kafka,
        "nobody",
        ResourceType.TRANSACTIONAL_ID,
        f"{kafka.group_id}-0",
        ACLOperation.WRITE,
    )
    assert all(finding.ok for finding in _kafka(kafka))
    check_cluster(kafka)
