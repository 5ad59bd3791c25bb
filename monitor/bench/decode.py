"""Bytes to a float32 matrix: the codecs alone, beside what one writes by hand for the stream."""

from collections.abc import Iterator
from functools import partial
from itertools import cycle, islice
from statistics import fmean

from monitor.bench.bench import Bench
from monitor.bench.encoders import arrow_records
from monitor.bench.figures import Figure
from monitor.bench.parsers import PARSERS, can_parse
from monitor.bench.timing import seconds_a_call
from monitor.bench.workloads import Workload
from monitor.ingest.codec import build_codec
from monitor.ingest.packing import pack

VECTORS, ROWS = 4096, 1024


def run(bench: Bench) -> Iterator[Figure]:
    for workload in bench.workloads:
        yield from _json(bench, workload)
    yield from _for_volume(bench, bench.workloads[-1])


def _json(bench: Bench, workload: Workload) -> Iterator[Figure]:
    count = bench.extent.vectors or VECTORS
    records = list(islice(cycle(workload.records), count))
    detector = workload.detector
    made = {name: make(detector.spec, detector.vocabularies) for name, make in PARSERS.items()}
    parsers = {name: parse for name, parse in made.items() if can_parse(parse, records)}
    bench.say(f"{workload.name}, JSON: decoding {count:,} vectors at a time")
    seconds = seconds_a_call({name: partial(parse, records) for name, parse in parsers.items()})
    size = f"{fmean(map(len, records)):.0f} bytes each"
    for name, taken in seconds.items():
        title = f"{workload.name}, JSON: {name}"
        yield Figure(title, "vectors/s", [count / s for s in taken], note=size)


def _for_volume(bench: Bench, workload: Workload) -> Iterator[Figure]:
    detector, values = workload.detector, workload.values
    rows = min(ROWS, len(values))
    records = {"Arrow": arrow_records(detector, values, rows)}
    if not detector.spec.columns_of("categorical"):
        records["float32"] = [
            packed.value for packed in pack(workload.records, detector.spec, "float32", rows)
        ]
    bench.say(f"{workload.name}: decoding {', '.join(records)} of {rows:,} vectors a record")
    decode = build_codec(detector.spec, detector.vocabularies).decode
    calls = {name: partial(decode, found[: VECTORS // rows]) for name, found in records.items()}
    for name, taken in seconds_a_call(calls).items():
        vectors = rows * len(records[name][: VECTORS // rows])
        title = f"{workload.name}, {name}: own codec"
        note = f"{rows:,} a record, {len(records[name][0]) / rows:.0f} bytes each"
        yield Figure(title, "vectors/s", [vectors / s for s in taken], note=note)
