"""The auditor finds what is lost, double or strange: otherwise its silence would prove nothing."""

from collections.abc import Sequence

import orjson
import pytest
from confluent_kafka import Consumer, TopicPartition

from monitor.contracts.dead_letter import render_dead_letter
from monitor.reasons import Reason
from tests.chaos.books import Books, Ledgers
from tests.chaos.traffic import Kind, Traffic
from tests.support.brokers import Broker, fresh_name

pytestmark = pytest.mark.kafka

PUT_IN: Sequence[Kind] = ("normal", "odd", "broken", "odd")


def alert(offset: int) -> bytes:
    """What an auditor looks at in one."""
    return orjson.dumps({"unmapped": {"source": {"partition": 0, "offset": offset}}})


@pytest.fixture
def ledgers(kafka_broker: Broker) -> Ledgers:
    """Four records, of which nothing came yet but that they are committed."""
    topic, group = kafka_broker.create_topic(), fresh_name("group")
    for output in ("alerts", "dead-letters", "journal"):
        kafka_broker.create_topic(f"{topic}-{output}")
    traffic = Traffic(seed=1)
    kafka_broker.produce(topic, *(traffic.record(kind) for kind in PUT_IN))
    consumer = Consumer({"bootstrap.servers": kafka_broker.bootstrap_servers, "group.id": group})
    consumer.commit(offsets=[TopicPartition(topic, 0, len(PUT_IN))], asynchronous=False)
    consumer.close()
    return Ledgers(kafka_broker.bootstrap_servers, topic, group, f"{topic}-journal")


def audit(
    broker: Broker,
    ledgers: Ledgers,
    alerts: Sequence[int] = (1, 3),
    dead_letters: Sequence[int] = (2,),
    journal: Sequence[tuple[int, int]] = ((0, 4),),
) -> Books:
    """The books once these offsets have alerts and dead letters, and the journal these spans."""
    records = broker.consume_all(ledgers.topic)
    broker.produce(f"{ledgers.topic}-alerts", *map(alert, alerts))
    for offset in dead_letters:
        letter = render_dead_letter(records[offset], Reason.MALFORMED_JSON, "it is no JSON", 1)
        broker.produce(f"{ledgers.topic}-dead-letters", letter.value, headers=letter.headers)
    spans = [{"partition": 0, "first_offset": a, "next_offset": b} for a, b in journal]
    broker.produce(f"{ledgers.topic}-journal", *map(orjson.dumps, spans))
    return ledgers.audit()


def test_books_that_balance_say_so(kafka_broker: Broker, ledgers: Ledgers) -> None:
    books = audit(kafka_broker, ledgers)
    assert books.balanced
    assert str(books) == "4 records, 2 odd, 1 broken: 0 lost, 0 double"


def test_what_is_lost_double_or_strange_is_named(kafka_broker: Broker, ledgers: Ledgers) -> None:
    books = audit(
        kafka_broker,
        ledgers,
        alerts=[0, 1, 1],
        dead_letters=[1],
        journal=[(0, 1), (2, 4), (3, 4)],
    )
    assert not books.balanced
    assert books.lost == [
        "0@2 has not a dead letter",
        "0@3 has not an alert",
        "0@1 to 2 not in the journal",
    ]
    assert books.double == ["0@1 has an alert 2 times", "0@3 to 4 twice in the journal"]
    assert books.strange == ["0@1 has a dead letter", "0@0 has an alert"]
