"""From producing an anomalous vector to reading its alert, at a steady rate.

The vectors are benign but for a few that are known to alert; every alert counts.
"""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from itertools import cycle
from time import monotonic

import numpy as np
from kafka import KafkaConsumer, TopicPartition

from monitor.bundle import load
from monitor.ingest.json_codec import JsonCodec
from tests.bench.bench import PARTITIONS, Bench
from tests.bench.figures import Figure
from tests.bench.processes import WatchedDaemon, apart
from tests.bench.traffic import LINGER_MS, PATIENCE_SECONDS, feed

RATE = 2_000
SECONDS = 20
WARM_UP_SECONDS = 2.0
PLANT_EVERY = 100
KINDS_PLANTED = 50

Sent = dict[tuple[int, int], float]


def run(bench: Bench) -> Iterator[Figure]:
    topic = bench.topic()
    with bench.daemon(topic) as daemon:
        bench.say(f"{RATE:,} vectors/s for {SECONDS} s")
        feeding = apart(feed, bench.broker.bootstrap_servers, topic, _traffic(bench), RATE)
        cpu = daemon.cpu_seconds()
        read = _read_alerts(daemon, feeding)
        cpu = daemon.cpu_seconds() - cpu
    sent = feeding.result()
    first = min(sent.values()) + WARM_UP_SECONDS
    latency_ms = [1000 * (at - sent[place]) for place, at in read if sent[place] > first]
    note = f"{len(latency_ms)} alerts; the producer waits up to {LINGER_MS} ms to fill a batch"
    name = f"at {RATE:,} vectors/s: produced to alert read"
    yield Figure(f"{name}, p50", "ms", float(np.percentile(latency_ms, 50)), note=note)
    yield Figure(f"{name}, p99", "ms", float(np.percentile(latency_ms, 99)))
    yield Figure(f"at {RATE:,} vectors/s: share of a core", "%", 100 * cpu / SECONDS)


def _traffic(bench: Bench) -> Sequence[bytes]:
    benign, anomalies = cycle(bench.benign_records), cycle(_anomalies(bench))
    return [
        next(anomalies) if turn % PLANT_EVERY == 0 else next(benign)
        for turn in range(RATE * SECONDS)
    ]


def _anomalies(bench: Bench) -> Sequence[bytes]:
    """The vectors of the test set with the largest errors."""
    detector, _ = load(bench.bundle, "cpu")
    decoded = JsonCodec(detector.spec, detector.vocabularies).decode(bench.test_records)
    errors = detector.score(decoded.batch.values).errors
    return [bench.test_records[row] for row in np.argsort(-errors)[:KINDS_PLANTED]]


def _read_alerts(
    daemon: WatchedDaemon, feeding: "Future[Sent]"
) -> Sequence[tuple[tuple[int, int], float]]:
    """Which record each alert is of and when it was read, until there are no more to come."""
    kafka = daemon.settings.kafka
    alerts = KafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, auto_offset_reset="earliest")
    alerts.assign([TopicPartition(kafka.alert_topic, n) for n in range(PARTITIONS)])
    read: list[tuple[tuple[int, int], float]] = []
    deadline = monotonic() + PATIENCE_SECONDS
    while not (feeding.done() and _all_told(daemon, len(feeding.result()), len(read))):
        daemon.check()
        assert monotonic() < deadline, "some vectors are not scored, or some alerts not read"
        polled = alerts.poll(timeout_ms=100)
        now = monotonic()
        for record in (record for records in polled.values() for record in records):
            source = json.loads(record.value)["unmapped"]["source"]
            read.append(((source["partition"], source["offset"]), now))
    alerts.close()
    return read


def _all_told(daemon: WatchedDaemon, vectors: int, alerts: int) -> bool:
    counts = daemon.counts()
    return counts.vectors >= vectors and counts.alerts <= alerts
