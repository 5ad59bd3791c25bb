"""From producing an anomalous vector to reading its alert, at a steady rate.

The vectors are the workload's but for a few that are known to alert; every alert counts.
"""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from itertools import cycle
from time import monotonic

import numpy as np
from kafka import KafkaConsumer, TopicPartition

from monitor.bench.bench import PARTITIONS, Bench
from monitor.bench.figures import Figure, Goal
from monitor.bench.loops import LINGER_MS, PATIENCE_SECONDS, feed
from monitor.bench.processes import WatchedDaemon, apart
from monitor.bench.workloads import Workload
from monitor.errors import StreamError

RATE = 5_000
SECONDS = 20
WARM_UP_SECONDS = 2.0
PLANT_EVERY = 100
P50_MS, P99_MS = Goal("<=", 25), Goal("<=", 100)

Sent = dict[tuple[int, int], float]


def run(bench: Bench) -> Iterator[Figure]:
    workload, topic = bench.workloads[0], bench.topic()
    name = f"{workload.name}, JSON, at {RATE:,} vectors/s"
    if not workload.anomalies:
        yield Figure.skipped(f"{name}: produced to alert read", "no vector of the data alerts")
        return
    with bench.daemon(workload.bundle, topic) as daemon:
        bench.say(f"{RATE:,} vectors/s for {SECONDS} s")
        feeding = apart(feed, bench.bootstrap_servers, topic, _traffic(workload), RATE)
        cpu = daemon.cpu_seconds()
        read = _read_alerts(daemon, feeding)
        cpu = daemon.cpu_seconds() - cpu
    sent = feeding.result()
    first = min(sent.values()) + WARM_UP_SECONDS
    latency_ms = [1000 * (at - sent[place]) for place, at in read if sent[place] > first]
    note = f"{len(latency_ms)} alerts; the producer waits up to {LINGER_MS} ms to fill a batch"
    p50, p99 = (float(np.percentile(latency_ms, rank)) for rank in (50, 99))
    yield Figure(f"{name}: produced to alert read, p50", "ms", p50, P50_MS, note)
    yield Figure(f"{name}: produced to alert read, p99", "ms", p99, P99_MS)
    yield Figure(f"{name}: share of a core", "%", 100 * cpu / SECONDS)


def _traffic(workload: Workload) -> Sequence[bytes]:
    usual, anomalies = cycle(workload.records), cycle(workload.anomalies)
    return [
        next(anomalies) if turn % PLANT_EVERY == 0 else next(usual)
        for turn in range(RATE * SECONDS)
    ]


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
        if monotonic() > deadline:
            raise StreamError("some vectors are not scored, or some alerts not read.")
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
