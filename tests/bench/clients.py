"""What a record costs before it is decoded: the daemon's own sources, with each Kafka client."""

from collections.abc import Iterator
from random import Random
from time import monotonic, process_time

from monitor.bench.bench import Bench
from monitor.bench.figures import Figure
from monitor.bench.loops import Pace
from monitor.bench.processes import apart
from monitor.config import BatchSettings, KafkaSettings, LogSettings
from monitor.stream.link import BrokerLink
from monitor.stream.process import tune_process
from monitor.stream.transport import build_source
from monitor.telemetry.health import Health
from monitor.telemetry.logs import configure_logs
from monitor.telemetry.metrics import Metrics

CLIENTS = ("kafka-python", "confluent-kafka")
RECORDS_OF_BYTES = {400: 200_000, 900: 200_000, 471_040: 1_600}
"""The last are 1,024 vectors of 115 float32."""
TURNS = 3
PATIENCE_SECONDS = 60.0


def run(bench: Bench) -> Iterator[Figure]:
    for size, count in RECORDS_OF_BYTES.items():
        topic = bench.backlog(_records(size), count, f"records of {size} B").topic
        paces: dict[str, list[Pace]] = {client: [] for client in CLIENTS}
        for turn in range(1, TURNS + 1):
            for client, found in paces.items():
                found.append(apart(drain, bench.bootstrap_servers, topic, count, client).result())
            told = ", ".join(f"{name} {found[-1].per_second:,.0f}" for name, found in paces.items())
            bench.say(f"{size} B, {turn} of {TURNS}: {told} records/s")
        for client, found in paces.items():
            cpu_us = min(pace.cpu_us for pace in found)
            yield Figure(
                f"source alone, records of {size} B: {client}",
                "records/s",
                [pace.per_second for pace in found],
                note=f"CPU {cpu_us:.1f} us/record",
            )


def drain(bootstrap_servers: str, topic: str, count: int, client: str) -> Pace:
    """Take and acknowledge all that the topic holds; the time runs from the first micro-batch."""
    kafka = KafkaSettings(
        bootstrap_servers=bootstrap_servers,
        group_id=f"{topic}-{client}-{monotonic()}",
        input_topics=(topic,),
        client=client,
    )
    metrics, health = Metrics(), Health("broker", "group")
    source = build_source(
        kafka, BatchSettings(), metrics, health, BrokerLink(bootstrap_servers, metrics, health)
    )
    configure_logs(LogSettings(level="warning"))
    tune_process()
    source.start()
    try:
        first = source.next(PATIENCE_SECONDS)
        assert first is not None
        started, cpu_before, taken = monotonic(), process_time(), 0
        while taken < count - len(first.records):
            batch = source.next(PATIENCE_SECONDS)
            assert batch is not None
            taken += len(batch.records)
            source.acknowledge(batch.next_offsets)
        seconds, cpu_seconds = monotonic() - started, process_time() - cpu_before
    finally:
        source.close(5.0)
    return Pace(taken / seconds, 1e6 * cpu_seconds / taken)


def _records(size: int) -> list[bytes]:
    """JSON of numbers, or as many bytes of no form where one is large."""
    random = Random(1)
    if size > 10_000:
        return [random.randbytes(size) for _ in range(4)]
    texts = ("".join(f'"f{n}":{random.random():.4f},' for n in range(size)) for _ in range(1_000))
    return [f"{{{text[: size - 1]}".encode() for text in texts]
