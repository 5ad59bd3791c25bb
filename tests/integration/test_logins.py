"""Each client logs in as the settings say, and hears why it may not."""

from pathlib import Path

import pytest

from monitor.batch import MicroBatch, Partition
from monitor.config import BatchSettings, KafkaSettings
from monitor.errors import BrokerError
from monitor.stream.contracts import Offsets, Output
from monitor.stream.link import BrokerLink
from monitor.stream.polling import PollingSource
from monitor.stream.transport import build_sink, build_source
from monitor.telemetry.health import Health
from monitor.telemetry.metrics import Metrics
from tests.support.brokers import fresh_name
from tests.support.kafka_server import KafkaServer
from tests.support.members import Loner
from tests.support.secured import certificate, log_in, over_tls, unsigned_token
from tests.support.waiting import until

pytestmark = pytest.mark.kafka

PASSWORD = {"sasl_username": "admin", "sasl_password": "admin-secret"}


def settings(address: str, topic: str, client: str, **login: object) -> KafkaSettings:
    return KafkaSettings(
        bootstrap_servers=address,
        group_id=fresh_name("group"),
        input_topics=(topic,),
        alert_topic=f"{topic}-alerts",
        client=client,
        **login,
    )


def source_of(kafka: KafkaSettings) -> PollingSource:
    metrics, health = Metrics(), Health("broker", "group")
    link = BrokerLink(kafka.bootstrap_servers, metrics, health)
    return build_source(kafka, BatchSettings(), metrics, health, link)


def write(kafka: KafkaSettings, topic: str, value: bytes) -> list[Offsets]:
    member = Loner()
    kafka = kafka.model_copy(update={"delivery": "at_least_once"})
    sink = build_sink(kafka, member, lambda: None, Health("outputs"))
    try:
        sink.write([Output(topic, None, value)], MicroBatch((), {Partition("vectors", 0): 1}))
    finally:
        sink.close(5.0)
    return member.acknowledged


def read(kafka: KafkaSettings) -> bytes | None:
    source = source_of(kafka)
    source.start()
    try:
        [record, *_] = until(lambda: source.next(0.1)).records
        return record.value
    finally:
        source.close(10.0)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_what_is_written_with_a_password_is_read_with_it(
    secured_kafka: KafkaServer, client: str, mechanism: str
) -> None:
    topic = over_tls(secured_kafka).create_topic()
    login = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": mechanism, **PASSWORD}
    kafka = settings(secured_kafka.address("LOGIN"), topic, client, **login)
    assert write(kafka, topic, b"by password")
    assert read(kafka) == b"by password"


def test_a_token_and_tls_do_as_well(
    secured_kafka: KafkaServer, client: str, tmp_path: Path
) -> None:
    topic = over_tls(secured_kafka).create_topic()
    token = tmp_path / "token"
    token.write_text(unsigned_token("admin"))
    login = {
        "security_protocol": "SASL_SSL",
        "ssl_cafile": certificate(secured_kafka),
        "sasl_mechanism": "OAUTHBEARER",
        "sasl_oauth_token_file": token,
    }
    kafka = settings(secured_kafka.address("TLSLOGIN"), topic, client, **login)
    assert write(kafka, topic, b"by token")
    assert read(kafka) == b"by token"


def test_a_wrong_password_is_said_and_not_tried_for_ever(
    secured_kafka: KafkaServer, client: str
) -> None:
    wrong = {**PASSWORD, "sasl_password": "guess"}
    login = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", **wrong}
    kafka = settings(secured_kafka.address("LOGIN"), "vectors", client, **login)
    source = source_of(kafka)
    source.start()
    with pytest.raises(BrokerError, match="refuses the login with PLAIN"):
        until(lambda: source.next(0.1))


def test_a_group_that_may_not_be_joined_is_named(secured_kafka: KafkaServer, client: str) -> None:
    topic = log_in(secured_kafka, "admin").create_topic()
    login = {
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "PLAIN",
        "sasl_username": "nobody",
        "sasl_password": "nobody-secret",
    }
    kafka = settings(secured_kafka.address("LOGIN"), topic, client, **login)
    source = source_of(kafka)
    source.start()
    with pytest.raises(BrokerError, match=f"{kafka.group_id}.* refuses this member .*doctor"):
        until(lambda: source.next(0.1))
