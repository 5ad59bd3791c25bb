"""The same rows in every format."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from monitor.features import FeatureSpec
from monitor.ingest.float32_codec import header

Row = Mapping[str, Any]


def arrow_stream(table: pa.Table, rows_per_batch: int | None = None, **options: Any) -> bytes:
    """A table as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=rows_per_batch)
    return sink.getvalue().to_pybytes()


def json_records(spec: FeatureSpec, rows: Sequence[Row]) -> list[bytes]:
    """A record a row."""
    return [json.dumps(row).encode() for row in rows]


def arrow_record(spec: FeatureSpec, rows: Sequence[Row]) -> list[bytes]:
    """One record of all rows, in batches of three."""
    return [arrow_stream(pa.Table.from_pylist(list(rows)), 3)]


def float32_record(spec: FeatureSpec, rows: Sequence[Row]) -> list[bytes]:
    """One record of all rows; their features alone are in it."""
    matrix = np.array([[row[path] for path in spec.paths] for row in rows], "<f4")
    return [header(spec, len(rows)) + matrix.reshape(-1, len(spec)).tobytes()]


WRITERS: Mapping[str, Callable[[FeatureSpec, Sequence[Row]], list[bytes]]] = {
    "json": json_records,
    "arrow": arrow_record,
    "float32": float32_record,
}
"""Of each format in the registry: how its producer writes rows."""
