"""Bytes to a float32 matrix: the codecs alone, beside what one writes by hand for the stream."""

from collections.abc import Iterator
from functools import partial
from itertools import cycle, islice
from statistics import fmean

from monitor.bench.bench import Bench
from monitor.bench.figures import Figure
from monitor.bench.parsers import PARSERS, can_parse
from monitor.bench.timing import seconds_a_call
from monitor.bench.workloads import Workload

VECTORS = 4096


def run(bench: Bench) -> Iterator[Figure]:
    for workload in bench.workloads:
        yield from _json(bench, workload)


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
