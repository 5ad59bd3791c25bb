"""How cost grows: with the number of vectors, and with their features. CPU time, decode and score.

The first should not matter at all; the second shows where the network's matrices take over.
"""

from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from time import process_time

from monitor.bench.bench import Bench
from monitor.bench.figures import Figure, Goal
from monitor.bench.workloads import HASTY, WIDE_VECTORS, Workload, wide
from monitor.ingest.codec import build_codec

COUNTS, FULL_COUNTS = (10_000, 100_000, 1_000_000), (10_000, 100_000, 1_000_000, 10_000_000)
WIDTHS, FULL_WIDTHS = (8, 128, 1_024), (8, 16, 32, 64, 128, 256, 512, 1_024)
BATCH = 4_096
VECTORS_A_WIDTH = WIDE_VECTORS
LEAST_VECTORS = 30_000
FLAT = Goal("<=", 1.2)


def run(bench: Bench) -> Iterator[Figure]:
    yield from _by_vectors(bench)
    if bench.extent.bundle is None:
        yield from _by_features(bench)


def _by_vectors(bench: Bench) -> Iterator[Figure]:
    workload = bench.workloads[0]
    costs = []
    for count in FULL_COUNTS if bench.extent.full else COUNTS:
        bench.say(f"{count:,} vectors of {workload.name}")
        costs.append(_cpu_us(workload, count))
        title = f"{workload.name}: CPU of {count:,} vectors"
        yield Figure(title, "us/vector", costs[-1], at=count)
    title = f"{workload.name}: cost of a vector among {count:,} over that among {COUNTS[0]:,}"
    yield Figure(title, "", costs[-1] / costs[0], FLAT)


def _by_features(bench: Bench) -> Iterator[Figure]:
    for features in FULL_WIDTHS if bench.extent.full else WIDTHS:
        bench.say(f"{features:,} features: training, decoding and scoring")
        workload = wide(Path(bench.folder, f"width-{features}"), features, HASTY)
        cost = _cpu_us(workload, VECTORS_A_WIDTH)
        note = f"{cost / features:.3f} us a feature"
        yield Figure(f"{features:,} features: CPU", "us/vector", cost, note=note, at=features)


def _cpu_us(workload: Workload, count: int) -> float:
    """Microseconds a vector, over all threads; few vectors are taken several times."""
    detector = workload.detector
    codec = build_codec(detector.spec, detector.vocabularies)

    def judge(records: Sequence[bytes]) -> None:
        detector.score(codec.decode(records).batch.values)

    judge(workload.records[:BATCH])  # warms up
    rounds = max(LEAST_VECTORS // count, 1)
    cpu = process_time()
    for _ in range(rounds):
        stream = islice(cycle(workload.records), count)
        while records := list(islice(stream, BATCH)):
            judge(records)
    return 1e6 * (process_time() - cpu) / (count * rounds)
