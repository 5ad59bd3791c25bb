"""What runs in processes of its own: producers, and the loops that the daemon is compared with."""

import json
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain, cycle, islice
from pathlib import Path
from time import monotonic, process_time
from typing import Any

import numpy as np
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from monitor.bench.parsers import PARSERS
from monitor.bundle import load
from monitor.errors import StreamError
from monitor.stream.feed import paced

LINGER_MS = 5
ACKNOWLEDGE_SECONDS = 60.0
PATIENCE_SECONDS = 180.0
MESSAGES_A_POLL = 4_096
GATHER_SECONDS = 0.02
"""librdkafka waits so long for a poll to be full, also where nothing more comes."""
FILL = {"batch_size": 1 << 18, "linger_ms": 50, "max_request_size": 1 << 20}


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast records were dealt with, and what processor time each took, over all threads.

    The latter depends less on what else the machine is doing.
    """

    per_second: float
    cpu_us: float


def fill(bootstrap_servers: str, topic: str, records: Sequence[bytes], count: int) -> None:
    """Put so many records into a topic, the given ones over and over, evenly over its partitions.

    They are not compressed, as most producers leave them.
    """
    producer = KafkaProducer(bootstrap_servers=bootstrap_servers, **FILL)
    partitions = cycle(sorted(producer.partitions_for(topic)))
    for record, partition in zip(islice(cycle(records), count), partitions, strict=False):
        producer.send(topic, record, partition=partition)
    producer.flush(ACKNOWLEDGE_SECONDS)
    producer.close()


def flood(
    bootstrap_servers: str, topic: str, records: Sequence[bytes], most: int, seconds: float
) -> None:
    """Send as fast as it goes for so long, compressed, at the most so many."""
    if find_spec("confluent_kafka"):
        _flood_by_librdkafka(bootstrap_servers, topic, records, most, seconds)
        return
    producer = KafkaProducer(bootstrap_servers=bootstrap_servers, compression_type="lz4", **FILL)
    partitions = cycle(sorted(producer.partitions_for(topic)))
    deadline = monotonic() + seconds
    for record, partition in zip(islice(cycle(records), most), partitions, strict=False):
        producer.send(topic, record, partition=partition)
        if monotonic() > deadline:
            break
    producer.flush(ACKNOWLEDGE_SECONDS)
    producer.close()


def _flood_by_librdkafka(
    bootstrap_servers: str, topic: str, records: Sequence[bytes], most: int, seconds: float
) -> None:
    """It leaves the daemon more of the processor, hence loads it more."""
    from confluent_kafka import Producer

    options = {"bootstrap.servers": bootstrap_servers, "compression.type": "lz4", "linger.ms": 50}
    producer = Producer(options)
    deadline = monotonic() + seconds
    for record in islice(cycle(records), most):
        while monotonic() < deadline:
            try:
                producer.produce(topic, record)
                break
            except BufferError:
                producer.poll(0.05)
        else:
            break
    producer.flush(ACKNOWLEDGE_SECONDS)


def feed(
    bootstrap_servers: str, topic: str, records: Iterable[bytes], rate_per_second: float
) -> dict[tuple[int, int], float]:
    """Send records at a steady rate.

    Returns:
        When each was sent, by partition and offset; monotonic time, which processes share.
    """
    producer = KafkaProducer(bootstrap_servers=bootstrap_servers, linger_ms=LINGER_MS)
    producer.partitions_for(topic)
    sent = [
        (monotonic(), producer.send(topic, record)) for record in paced(records, rate_per_second)
    ]
    producer.flush(ACKNOWLEDGE_SECONDS)
    places = [(future.get(ACKNOWLEDGE_SECONDS), at) for at, future in sent]
    producer.close()
    return {(place.partition, place.offset): at for place, at in places}


def poll_and_parse(
    options: dict[str, Any], topic: str, count: int, bundle: Path, parser: str
) -> Pace:
    """The least there is to do: poll, parse to a float32 matrix, forget."""
    detector, _ = load(bundle, "cpu")
    return _pace(options, topic, count, PARSERS[parser](detector.spec, detector.vocabularies))


def one_at_a_time(options: dict[str, Any], topic: str, count: int, bundle: Path) -> Pace:
    """The loop that one would write first: poll, json.loads, score one vector, look at the next."""
    detector, _ = load(bundle, "cpu")
    names = detector.spec.names
    codes = [{word: i for i, word in enumerate(words, 1)} for words in detector.vocabularies]

    def judge(value: bytes) -> bool:
        event = json.loads(value)
        given = (event[name] for name in names) if isinstance(event, dict) else event
        vector = [
            known.get(found, 0) if known else found
            for found, known in zip(given, codes, strict=True)
        ]
        scores = detector.score(np.array([vector], np.float32))
        return bool(scores.errors[0] > scores.threshold)

    return _pace(options, topic, count, lambda values: list(map(judge, values)), fetched=True)


def _pace(
    options: dict[str, Any],
    topic: str,
    count: int,
    handle: Callable[[Sequence[bytes]], object],
    fetched: bool = False,
) -> Pace:
    """Handle at least so many records from the topic's beginning, a poll at a time.

    Args:
        fetched: the first records are there before the time starts: of few they are a part.
    """
    handled = 0
    with closing(_polls(options, topic)) as polls:
        ahead = next(polls)  # connects
        while fetched and not ahead:
            ahead = next(polls)
        started, cpu_before = monotonic(), process_time()
        for values in chain([ahead], polls):
            if values:
                handle(values)
            handled += len(values)
            if handled >= count:
                break
            if monotonic() - started > PATIENCE_SECONDS:
                raise StreamError(f"only {handled} of {count} records of topic {topic} came.")
        seconds, cpu_seconds = monotonic() - started, process_time() - cpu_before
    return Pace(handled / seconds, 1e6 * cpu_seconds / handled)


def _polls(options: dict[str, Any], topic: str) -> Generator[Sequence[bytes], None, None]:
    """Nothing, once it is connected; then what each poll brings, from the topic's beginning."""
    if "bootstrap.servers" in options:
        yield from _librdkafka_polls(options, topic)
        return
    consumer = KafkaConsumer(**options)
    partitions = [TopicPartition(topic, n) for n in consumer.partitions_for_topic(topic)]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    try:
        yield []
        while True:
            polled = consumer.poll(timeout_ms=1000)
            yield [record.value for records in polled.values() for record in records]
    finally:
        consumer.close()


def _librdkafka_polls(
    options: dict[str, Any], topic: str
) -> Generator[Sequence[bytes], None, None]:
    from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

    consumer = Consumer(options)
    numbers = consumer.list_topics(topic).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in numbers])
    try:
        yield []
        while True:
            messages = consumer.consume(MESSAGES_A_POLL, GATHER_SECONDS)
            values = (message.value() for message in messages if not message.error())
            yield [value for value in values if value is not None]
    finally:
        consumer.close()
