"""Arrow record batches through Kafka and the daemon, beside what the network alone can do."""

from collections.abc import Iterator, Sequence
from itertools import chain

import pyarrow as pa

from monitor.batch import Matrix
from monitor.bench.bench import Backlog, Bench
from monitor.bench.figures import Figure, Goal
from monitor.bench.loops import Pace
from monitor.bench.pipeline import drain
from monitor.bench.score import bare_rate
from monitor.bench.workloads import Workload
from monitor.detect.detector import Detector
from monitor.features import Feature

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
            records = arrow_records(detector, values, ROWS)
            count = max(_vectors(bench) // ROWS, 1)
            backlog = bench.backlog(records, count, f"Arrow records of {ROWS:,} vectors")
        yield from _compare(bench, workload, backlog, bare_rate(detector, values))


def _compare(
    bench: Bench, workload: Workload, backlog: Backlog, network: tuple[float, int]
) -> Iterator[Figure]:
    paces: list[Pace] = []
    for turn in range(1, REPETITIONS + 1):
        pace, note = drain(bench, workload.bundle, backlog, SETTINGS)
        paces.append(pace)
        bench.say(f"{workload.name}, Arrow, {turn} of {REPETITIONS}: {pace.per_second:,.0f}")
    name, rates = f"{workload.name}, Arrow", [pace.per_second for pace in paces]
    yield Figure(f"{name}: daemon", "vectors/s", rates, RATE, note)
    yield Figure(f"{name}: daemon, CPU", "us/vector", [pace.cpu_us for pace in paces])
    rate, batch = network
    shares = [ours / rate for ours in rates]
    told = f"{rate:,.0f} vectors/s, {batch:,} at a time, measured before with nothing beside it"
    yield Figure(f"{name}: daemon over the network alone", "", shares, OF_NETWORK, told)


def _vectors(bench: Bench) -> int:
    return bench.extent.vectors or (FULL_VECTORS if bench.extent.full else VECTORS)


def arrow_records(detector: Detector, values: Matrix, rows: int) -> Sequence[bytes]:
    """(n, f) vectors as Arrow streams of so many named rows; at least one."""
    starts = range(0, max(len(values) - rows, 0) + 1, rows)
    return [_stream(detector, values[start : start + rows]) for start in starts]


def _stream(detector: Detector, values: Matrix) -> bytes:
    features = zip(detector.spec.features, detector.vocabularies, values.T, strict=True)
    columns = [_column(feature, words, column) for feature, words, column in features]
    batch = pa.RecordBatch.from_arrays(columns, names=list(detector.spec.paths))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    made: bytes = sink.getvalue().to_pybytes()
    return made


def _column(feature: Feature, words: Sequence[str], codes: Matrix) -> pa.Array:
    if feature.kind == "numeric":
        return pa.array(codes)
    if feature.kind == "boolean":
        return pa.array(codes != 0)
    known = list(chain(["unseen"], words))
    return pa.array([known[code] for code in codes.astype(int).tolist()])
