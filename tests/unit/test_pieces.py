"""A micro-batch is decoded in pieces where its records become much more than they are."""

import numpy as np
import pyarrow as pa

from monitor.ingest.pieces import decoded_bytes, pieces

JSON = b'{"a": 1}'


def zeros(rows: int, columns: int = 2) -> bytes:
    """A compressed stream that becomes far more than it is."""
    column = pa.array(np.zeros(rows, np.float32))
    batch = pa.record_batch([column] * columns, [f"f{n}" for n in range(columns)])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(
        sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")
    ) as s:
        s.write_batch(batch)
    return sink.getvalue().to_pybytes()


def test_json_is_never_parted() -> None:
    assert list(pieces([JSON] * 1000, 2, max_bytes=1)) == [(0, 1000)]


def test_a_compressed_record_counts_as_what_it_becomes() -> None:
    record = zeros(50_000)
    assert len(record) < 2_000
    assert decoded_bytes(record, 2) == 50_000 * 2 * 4


def test_columns_that_are_left_out_count_once_they_are_defaults() -> None:
    assert decoded_bytes(zeros(1_000, columns=1), features=100) == 1_000 * 100 * 4


def test_records_are_taken_together_up_to_the_bound() -> None:
    values = [zeros(1_000)] * 5
    assert list(pieces(values, 2, max_bytes=16_000)) == [(0, 2), (2, 4), (4, 5)]


def test_a_record_beyond_the_bound_stands_alone() -> None:
    values = [JSON, zeros(10_000), JSON, None, b"\xff\xff\xff\xff broken"]
    assert list(pieces(values, 2, max_bytes=20_000)) == [(0, 1), (1, 2), (2, 5)]


def test_nothing_becomes_a_single_empty_piece() -> None:
    assert list(pieces([], 2, max_bytes=1)) == [(0, 0)]
