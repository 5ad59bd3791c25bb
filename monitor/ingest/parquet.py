"""Parquet tables: each leaf that holds one value a row is a column, named by its dotted path."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from monitor.ingest.tables import RowBlock, Table, trimmed, unique_names

PARQUET_START = b"PAR1"
_BLOCK_ROWS = 1 << 15


def open_parquet(path: Path) -> Table:
    """A table of a Parquet file; lists and maps in it are passed over."""
    paths = _leaf_paths(pa.parquet.ParquetFile(path))
    return Table(path, unique_names(paths), lambda wanted: _read(path, wanted))


def _leaf_paths(file: Any) -> list[str]:
    schema = file.schema
    leaves = [schema.column(i) for i in range(len(schema))]
    return [leaf.path for leaf in leaves if leaf.max_repetition_level == 0]


def _read(path: Path, wanted: Sequence[int]) -> Iterator[RowBlock]:
    file = pa.parquet.ParquetFile(path)
    paths = _leaf_paths(file)
    included = [paths[i] for i in dict.fromkeys(wanted)]
    first_row = 0
    for batch in file.iter_batches(batch_size=_BLOCK_ROWS, columns=included):
        arrays = _flat(batch)
        rows = np.arange(first_row, first_row + len(batch), dtype=np.int64)
        yield RowBlock(len(batch), rows, [arrays[paths[i]] for i in wanted])
        first_row += len(batch)


def _flat(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """A batch's leaves by dotted path."""
    table = pa.Table.from_batches([batch])
    while any(pa.types.is_struct(column.type) for column in table.columns):
        table = table.flatten()
    return {
        name: _plain(column.combine_chunks())
        for name, column in zip(table.column_names, table.columns, strict=True)
    }


def _plain(array: pa.Array) -> pa.Array:
    """Without dictionaries, large or binary types; text as in other files."""
    types = pa.types
    if types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if types.is_binary(array.type) or types.is_large_binary(array.type):
        decoded = [b if b is None else b.decode("utf-8", "replace") for b in array.to_pylist()]
        array = pa.array(decoded, pa.string())
    if types.is_large_string(array.type) or types.is_string_view(array.type):
        array = array.cast(pa.string())
    return trimmed(array) if types.is_string(array.type) else array
