"""Arrow record batches through Kafka and the daemon, beside what the network alone can do.

The network takes its turns while no daemon runs, so that it has all cores to itself.
"""

from collections.abc import Iterator

from monitor.bench.bench import Backlog, Bench
from monitor.bench.encoders import arrow_records
from monitor.bench.figures import Figure, Goal
from monitor.bench.loops import Pace
from monitor.bench.pipeline import drain, over
from monitor.bench.score import bare_rate
from monitor.bench.workloads import Workload

ROWS = 1024
VECTORS, FULL_VECTORS = 2_000_000, 10_000_000
REPETITIONS = 3
RATE = Goal(">=", 1_000_000)
OF_NETWORK = Goal(">=", 0.6)
SETTINGS = '[input]\nformat = "arrow"\n'


def run(bench: Bench) -> Iterator[Figure]:
    backlog: Backlog | None = None
    for workload in bench.volume:
        detector, values = workload.detector, workload.values
        if backlog is None:  # they differ in the network alone
            rows = min(ROWS, len(values))
            records = arrow_records(detector, values, rows)
            count = max(_vectors(bench) // rows, 1)
            backlog = bench.backlog(records, count, f"Arrow records of {rows:,} vectors")
        yield from _compare(bench, workload, backlog)


def _compare(bench: Bench, workload: Workload, backlog: Backlog) -> Iterator[Figure]:
    detector, values = workload.detector, workload.values
    paces: list[Pace] = []
    network: list[tuple[float, int]] = []
    for turn in range(1, REPETITIONS + 1):
        pace, note = drain(bench, workload.bundle, backlog, SETTINGS)
        network.append(bare_rate(detector, values))
        paces.append(pace)
        bench.say(f"{workload.name}, Arrow, {turn} of {REPETITIONS}: {pace.per_second:,.0f}")
    name, rates = f"{workload.name}, Arrow", [pace.per_second for pace in paces]
    yield Figure(f"{name}: daemon", "vectors/s", rates, RATE, note)
    yield Figure(f"{name}: daemon, CPU", "us/vector", [pace.cpu_us for pace in paces])
    shares = over(rates, (rate for rate, _ in network))
    best, batch = max(network)
    told = f"at best {best:,.0f} vectors/s, {batch:,} at a time: all cores, with nothing beside it"
    yield Figure(f"{name}: daemon over the network alone", "", shares, OF_NETWORK, told)


def _vectors(bench: Bench) -> int:
    return bench.extent.vectors or (FULL_VECTORS if bench.extent.full else VECTORS)
