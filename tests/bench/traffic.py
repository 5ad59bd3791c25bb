"""What runs in processes of its own: producers, and the loops that the daemon is compared with."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from time import monotonic, process_time
from typing import Any

import numpy as np
import orjson
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from monitor.bundle import load
from monitor.stream.feed import paced

LINGER_MS = 5
ACKNOWLEDGE_SECONDS = 60.0
PATIENCE_SECONDS = 120.0


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
    producer = KafkaProducer(bootstrap_servers=bootstrap_servers, batch_size=1 << 18, linger_ms=50)
    partitions = cycle(sorted(producer.partitions_for(topic)))
    for record, partition in zip(islice(cycle(records), count), partitions, strict=False):
        producer.send(topic, record, partition=partition)
    producer.flush(ACKNOWLEDGE_SECONDS)
    producer.close()


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


def poll_and_parse(options: dict[str, Any], topic: str, count: int) -> Pace:
    """The least there is to do: poll, parse, forget."""
    return _pace(options, topic, count, orjson.loads)


def one_at_a_time(options: dict[str, Any], topic: str, count: int, bundle: Path) -> Pace:
    """The loop that one would write first: poll, json.loads, score one vector, look at the next."""
    detector, _ = load(bundle, "cpu")
    names = detector.spec.names
    codes = [{word: i for i, word in enumerate(words, 1)} for words in detector.vocabularies]

    def judge(value: bytes) -> bool:
        event = json.loads(value)
        vector = [
            known.get(event[name], 0) if known else event[name]
            for name, known in zip(names, codes, strict=True)
        ]
        scores = detector.score(np.array([vector], np.float32))
        return bool(scores.errors[0] > scores.threshold)

    return _pace(options, topic, count, judge)


def _pace(
    options: dict[str, Any], topic: str, count: int, handle: Callable[[bytes], object]
) -> Pace:
    """Handle at least so many records from the topic's beginning."""
    consumer = KafkaConsumer(**options)
    partitions = [TopicPartition(topic, n) for n in consumer.partitions_for_topic(topic)]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    handled, started, cpu_before = 0, monotonic(), process_time()
    while handled < count:
        for records in consumer.poll(timeout_ms=1000).values():
            for record in records:
                handle(record.value)
            handled += len(records)
        if monotonic() - started > PATIENCE_SECONDS:
            raise TimeoutError(f"only {handled} of {count} records of {topic} came")
    seconds, cpu_seconds = monotonic() - started, process_time() - cpu_before
    consumer.close()
    return Pace(handled / seconds, 1e6 * cpu_seconds / handled)
