"""Vectors through Kafka and the daemon, as a rate and as a share of what a bare loop does.

The topic is full beforehand. The daemon's time runs from the assignment of its partitions to the
last commit; the bare loops have the same client settings, poll and parse the same records to a
matrix, and drop it. They take turns, so that a busy machine is fair to all.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from monitor.bench.bench import Backlog, Bench
from monitor.bench.bytewax_app import through_bytewax
from monitor.bench.figures import Figure, Goal
from monitor.bench.loops import Pace, one_at_a_time, poll_and_parse
from monitor.bench.parsers import PARSERS, can_parse
from monitor.bench.peers import compare as compare_peer
from monitor.bench.processes import WatchedDaemon, apart
from monitor.bench.workloads import Workload
from monitor.stream.client import client_options
from monitor.stream.link import BrokerLink
from monitor.stream.source import KafkaSource
from monitor.telemetry.health import Health
from monitor.telemetry.metrics import STAGES, Metrics

REPETITIONS = 3
VECTORS = 400_000
PLAIN_LOOP_VECTORS = 10_000
OF_BARE = Goal(">=", 0.85)
OVER_PLAIN = Goal(">=", 15)


def run(bench: Bench) -> Iterator[Figure]:
    for workload in bench.workloads:
        size = bench.extent.vectors or VECTORS
        backlog = bench.backlog(workload.records, size, f"JSON vectors, {workload.name}")
        yield from compare(bench, workload, backlog)


def compare(bench: Bench, workload: Workload, backlog: Backlog) -> Iterator[Figure]:
    """The daemon, the bare loops, and the plain one, on JSON of one workload."""
    loops = parsers_of(workload)
    paces: dict[str, list[Pace]] = defaultdict(list)
    notes: list[str] = []
    plain: list[float] = []
    for turn in range(1, REPETITIONS + 1):
        for parser in loops:
            paces[parser].append(bare_loop(bench, workload.bundle, backlog, parser))
        pace, note = drain(bench, workload.bundle, backlog)
        paces["daemon"].append(pace)
        notes.append(note)
        plain.append(_plain_loop(bench, workload, backlog))
        told = ", ".join(f"{name} {found[-1].per_second:,.0f}" for name, found in paces.items())
        bench.say(f"{workload.name}, {turn} of {REPETITIONS}: {told} vectors/s")
    name = f"{workload.name}, JSON"
    rates = {way: [pace.per_second for pace in found] for way, found in paces.items()}
    daemon = rates["daemon"]
    cpu = [pace.cpu_us for pace in paces["daemon"]]
    yield Figure(f"{name}: daemon", "vectors/s", daemon)
    yield Figure(f"{name}: daemon, CPU", "us/vector", cpu)
    for loop in loops:
        cpu_us = min(pace.cpu_us for pace in paces[loop])
        title = f"{name}: poll and parse only, {loop}"
        yield Figure(title, "vectors/s", rates[loop], note=f"CPU {cpu_us:.1f} us/vector")
    bare = [paces[loop] for loop in loops]
    shares = over(daemon, fastest(bare))
    yield Figure(f"{name}: daemon over the faster of these", "", shares, OF_BARE, notes[-1])
    title = f"{name}: daemon's CPU over that of the cheaper of these"
    yield Figure(title, "times", over(cpu, cheapest(bare)))
    told = f"{median(plain):,.0f} vectors/s"
    note = f"poll, json.loads, the same network, a vector at a time: {told}"
    times = over(daemon, plain)
    yield Figure(f"{name}: daemon over a plain loop", "times", times, OVER_PLAIN, note)
    yield _bytewax(bench, workload, backlog, daemon)


def fastest(loops: Iterable[Sequence[Pace]]) -> list[float]:
    """The highest rate in each turn of several loops."""
    return [max(pace.per_second for pace in turn) for turn in zip(*loops, strict=True)]


def cheapest(loops: Iterable[Sequence[Pace]]) -> list[float]:
    """The least processor time of a vector in each turn of several loops, in microseconds."""
    return [min(pace.cpu_us for pace in turn) for turn in zip(*loops, strict=True)]


def over(ours: Iterable[float], theirs: Iterable[float]) -> list[float]:
    """Ratios, turn by turn."""
    return [own / other for own, other in zip(ours, theirs, strict=True)]


def drain(
    bench: Bench, bundle: Path, backlog: Backlog, settings: str = "", kafka: str = ""
) -> tuple[Pace, str]:
    """The daemon's pace, and where its threads' time went."""
    with bench.daemon(bundle, backlog.topic, settings, kafka=kafka) as daemon:
        before, cpu = daemon.counts().vectors, daemon.cpu_seconds()
        for _ in daemon.work_off(backlog.size):
            pass
        cpu = daemon.cpu_seconds() - cpu
        counts, stages = daemon.counts(), daemon.stage_seconds()
    seconds, vectors = daemon.seconds_of_work(), counts.vectors
    told = ", ".join(f"{stage} {stages[stage]:.2f}" for stage in STAGES if stage in stages)
    share = counts.alerts / max(vectors, 1)
    note = f"{vectors:,} in {seconds:.1f} s, {share:.2%} alert; seconds in {told}"
    return Pace(vectors / seconds, 1e6 * cpu / max(vectors - before, 1)), note


def bare_loop(bench: Bench, bundle: Path, backlog: Backlog, parser: str) -> Pace:
    """What is least there is to do with these records."""
    options = consumer_options(bench.daemon(bundle, backlog.topic))
    return apart(poll_and_parse, options, backlog.topic, backlog.size, bundle, parser).result()


def parsers_of(workload: Workload) -> list[str]:
    """The parsers that can read it; one by hand reads flat records alone."""
    detector = workload.detector
    return [
        name
        for name, make in PARSERS.items()
        if can_parse(make(detector.spec, detector.vocabularies), workload.records)
    ]


def _plain_loop(bench: Bench, workload: Workload, backlog: Backlog) -> float:
    options = consumer_options(bench.daemon(workload.bundle, backlog.topic))
    count = min(PLAIN_LOOP_VECTORS, backlog.size)
    arguments = (options, backlog.topic, count, workload.bundle)
    return apart(one_at_a_time, *arguments).result().per_second


def _bytewax(bench: Bench, workload: Workload, backlog: Backlog, daemon: Sequence[float]) -> Figure:
    """The same job in a framework for streams."""
    servers, alerts = bench.bootstrap_servers, bench.topic("alerts")
    theirs = partial(through_bytewax, servers, backlog.topic, alerts, workload.bundle)
    title = f"{workload.name}, JSON: daemon over the same job in Bytewax"
    return compare_peer(bench, title, daemon, "bytewax", theirs, "its own connectors, librdkafka")


def consumer_options(daemon: WatchedDaemon) -> dict[str, Any]:
    """What the daemon's consumer is told, less the group."""
    kafka, batch = daemon.settings.kafka, daemon.settings.batch
    metrics, health = Metrics(), Health()
    link = BrokerLink(kafka.bootstrap_servers, metrics, health)
    if kafka.client == "confluent-kafka":
        from monitor.stream.confluent_source import ConfluentSource

        told = ConfluentSource(kafka, batch, metrics, health, link)._options()
        callbacks = [name for name in told if name.endswith("_cb") or name == "on_commit"]
        for name in (*callbacks, "statistics.interval.ms"):
            del told[name]
        return {**told, "group.id": "bench"}
    options = KafkaSource(kafka, batch, metrics, health, link)._options()
    return {**client_options(kafka), **options, "group_id": None, "group_instance_id": None}
