"""Vectors as Arrow records of a producer in volume: columns of float32, as they will be scored."""

from collections.abc import Sequence
from itertools import chain

import pyarrow as pa

from monitor.batch import Matrix
from monitor.detect.detector import Detector
from monitor.features import Feature


def arrow_records(detector: Detector, values: Matrix, rows: int) -> Sequence[bytes]:
    """(n, f) vectors as Arrow streams of so many named rows."""
    parts = (values[start : start + rows] for start in _starts(values, rows))
    return [_stream(detector, part) for part in parts]


def _starts(values: Matrix, rows: int) -> range:
    return range(0, len(values) - rows + 1, rows)


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
