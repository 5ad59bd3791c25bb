"""JSON vectors through Kafka and the daemon, as a rate and as a share of what a bare loop does.

The topic is full beforehand. The daemon's time runs from the assignment of its partitions to the
last commit; the bare loop has the same client settings, polls and parses the same records, and
drops them. They take turns, so that a busy machine is fair to both.
"""

from collections.abc import Iterator
from typing import Any

from monitor.stream.client import client_options
from monitor.stream.link import BrokerLink
from monitor.stream.source import KafkaSource
from monitor.telemetry.health import Health
from monitor.telemetry.metrics import Metrics
from tests.bench.bench import Backlog, Bench
from tests.bench.figures import Figure
from tests.bench.processes import WatchedDaemon, apart
from tests.bench.traffic import Pace, one_at_a_time, poll_and_parse

REPETITIONS = 3
PLAIN_LOOP_VECTORS = 5_000


def run(bench: Bench) -> Iterator[Figure]:
    yield from _compare(bench, "benign traffic", bench.benign_backlog)
    yield from _compare(bench, "KDDTest+", bench.test_backlog)
    yield _plain_loop(bench, bench.benign_backlog)


def _compare(bench: Bench, name: str, backlog: Backlog) -> Iterator[Figure]:
    bare: list[Pace] = []
    daemon: list[Pace] = []
    for turn in range(1, REPETITIONS + 1):
        bare.append(_bare_loop(bench, backlog))
        pace, note = _daemon(bench, backlog)
        daemon.append(pace)
        rates = f"bare {bare[-1].per_second:,.0f}, daemon {pace.per_second:,.0f} vectors/s"
        bench.say(f"{name}, {turn} of {REPETITIONS}: {rates}")
    ratios = [ours.per_second / least.per_second for ours, least in zip(daemon, bare, strict=True)]
    yield Figure(f"{name}: daemon", "vectors/s", [p.per_second for p in daemon], note=note)
    yield Figure(f"{name}: poll and parse only", "vectors/s", [p.per_second for p in bare])
    yield Figure(f"{name}: the one as a share of the other", "", ratios)
    yield Figure(f"{name}: daemon, CPU", "us/vector", [p.cpu_us for p in daemon])
    yield Figure(f"{name}: poll and parse only, CPU", "us/vector", [p.cpu_us for p in bare])


def _daemon(bench: Bench, backlog: Backlog) -> tuple[Pace, str]:
    """Its pace, and what the vectors were and where its main thread's time went."""
    with bench.daemon(backlog.topic) as daemon:
        done, cpu = daemon.counts().vectors, daemon.cpu_seconds()
        for _ in daemon.work_off(backlog.size):
            pass
        done, cpu = backlog.size - done, daemon.cpu_seconds() - cpu
        alerts, stages = daemon.counts().alerts, daemon.stage_seconds()
    told = ", ".join(f"{stage} {stages[stage]:.1f}" for stage in ("decode", "score", "publish"))
    share = alerts / backlog.size
    note = f"{backlog.size:,} vectors, {share:.2%} of them alert; seconds in {told}"
    return Pace(backlog.size / daemon.seconds_of_work(), 1e6 * cpu / max(done, 1)), note


def _bare_loop(bench: Bench, backlog: Backlog) -> Pace:
    options = _client_options(bench.daemon(backlog.topic))
    return apart(poll_and_parse, options, backlog.topic, backlog.size).result()


def _plain_loop(bench: Bench, backlog: Backlog) -> Figure:
    options = _client_options(bench.daemon(backlog.topic))
    arguments = (options, backlog.topic, PLAIN_LOOP_VECTORS, bench.bundle)
    pace = apart(one_at_a_time, *arguments).result()
    note = "poll, json.loads, the same network, a vector at a time"
    return Figure("benign traffic: a plain loop", "vectors/s", pace.per_second, note=note)


def _client_options(daemon: WatchedDaemon) -> dict[str, Any]:
    """What the daemon's consumer is told, less the group."""
    kafka, batch = daemon.settings.kafka, daemon.settings.batch
    metrics, health = Metrics(), Health()
    link = BrokerLink(kafka.bootstrap_servers, metrics, health)
    options = KafkaSource(kafka, batch, metrics, health, link)._options()
    return {**client_options(kafka), **options, "group_id": None, "group_instance_id": None}
