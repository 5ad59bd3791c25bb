"""How much faster several workers are than one, over the partitions of one topic.

The topic is full beforehand. The rate is that between two looks at the sum of the workers' metrics:
the first when all are ready, the last when a tenth is left, so that neither the start nor a
partition that is done earlier counts. One and several take turns, and with them the bare loops of
`monitor.bench.pipeline`, on half of the topic. Where cores are fewer than threads that want one,
the processor time of a vector says what more cores would give: where it stays the same, so does the
rate of each worker.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from time import monotonic, sleep
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from monitor.bench.bench import PARTITIONS, Backlog, Bench
from monitor.bench.figures import Figure
from monitor.bench.loops import PATIENCE_SECONDS, Pace
from monitor.bench.pipeline import bare_loop, fastest, over, parsers_of
from monitor.bench.processes import WatchedDaemon
from monitor.bench.workloads import Workload
from monitor.errors import StreamError

REPETITIONS = 3
VECTORS = 600_000
LOOK_SECONDS = 0.25
LAST_LOOK = 0.9
"""Share of the vectors by which all partitions still have some."""


def run(bench: Bench) -> Iterator[Figure]:
    workload = bench.workloads[0]
    size = bench.extent.vectors or VECTORS
    backlog = bench.backlog(workload.records, size, f"JSON vectors, {workload.name}")
    half = replace(backlog, size=size // 2)
    counts = (1, max(2, min(PARTITIONS, os.cpu_count() or 1)))
    paces: dict[int, list[Pace]] = defaultdict(list)
    bare: dict[str, list[Pace]] = defaultdict(list)
    for turn in range(1, REPETITIONS + 1):
        for count in counts:
            paces[count].append(_pace(bench, workload, backlog, count))
        for parser in parsers_of(workload):
            bare[parser].append(bare_loop(bench, workload.bundle, half, parser))
        told = ", ".join(f"{count}: {found[-1].per_second:,.0f}" for count, found in paces.items())
        bench.say(f"workers and vectors/s, {turn} of {REPETITIONS}: {told}")
    one, several = (paces[count] for count in counts)
    for count, found in paces.items():
        name = f"{workload.name}, JSON: {count} worker{'s' * (count > 1)}"
        rates, cpu_us = [pace.per_second for pace in found], [pace.cpu_us for pace in found]
        yield Figure(name, "vectors/s", rates)
        yield Figure(f"{name}, CPU", "us/vector", cpu_us)
        shares = over(rates, fastest(bare.values()))
        yield Figure(f"{name} over the faster bare loop", "", shares)
    name = f"{workload.name}, JSON: {counts[1]} workers over one"
    times = over((pace.per_second for pace in several), (pace.per_second for pace in one))
    yield Figure(name, "times", times, note=f"they and the broker on {os.cpu_count()} cores")
    costs = over((pace.cpu_us for pace in several), (pace.cpu_us for pace in one))
    yield Figure(f"{name}, CPU of a vector", "times", costs)


def _pace(bench: Bench, workload: Workload, backlog: Backlog, workers: int) -> Pace:
    with bench.daemon(workload.bundle, backlog.topic, workers=workers) as daemon:
        first = last = _look(daemon)
        while last.vectors < LAST_LOOK * backlog.size:
            if last.at > first.at + PATIENCE_SECONDS:
                raise StreamError(f"only {last.vectors} of {backlog.size} vectors were scored.")
            sleep(LOOK_SECONDS)
            daemon.check()
            last = _look(daemon)
    vectors = last.vectors - first.vectors
    if not vectors:
        raise StreamError(f"{backlog.size} vectors are too few: they were scored before all began.")
    cpu_us = 1e6 * (last.cpu_seconds - first.cpu_seconds) / vectors
    return Pace(vectors / (last.at - first.at), cpu_us)


class _Look(NamedTuple):
    at: float
    vectors: float
    cpu_seconds: float


def _look(daemon: WatchedDaemon) -> _Look:
    """At all processes that score, together."""
    sums: Counter[str] = Counter()
    for family in text_string_to_metric_families(daemon._get("/metrics")):
        for sample in family.samples:
            sums[sample.name] += sample.value  # type: ignore[assignment]  # sums may be floats
    vectors, cpu = sums["anomaly_monitor_vectors_total"], sums["process_cpu_seconds_total"]
    return _Look(monotonic(), vectors, cpu)
