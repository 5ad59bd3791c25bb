"""A data file becomes latent vectors, for plots, clustering and neighbour search.

    embed(detector, Path("flows.csv.gz"), Path("latent.parquet"))

Each vector gives its row in the data file, its reconstruction error and its k latent numbers: as
columns `row`, `error`, `latent_0` ... in Parquet and CSV, as fields `row`, `error` and `latent`,
(k,) float32, of a NumPy file. Rows go through in blocks, so that memory stays bounded.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from monitor.batch import Indices, Matrix
from monitor.detect.detector import Detector
from monitor.errors import DataError
from monitor.ingest.files import open_vectors


@dataclass(frozen=True, slots=True)
class Embedded:
    """What was written: n vectors of k latent numbers; rejected rows are no vectors."""

    vectors: int
    width: int
    rejected: int


def embed(
    detector: Detector, file: Path, output: Path, progress: Callable[[int], None] = lambda _: None
) -> Embedded:
    """Write the latent vectors of a file, whole or not at all; `progress` is told how many are.

    Raises:
        DataError: the file cannot be read as vectors of the bundle's spec, or the output's name
            ends in no known format, or it cannot be written.
    """
    check_output(output)
    width = detector.embed(np.empty((0, len(detector.spec)), np.float32)).shape[1]
    vectors = rejected = 0
    source = open_vectors(file, detector.spec, detector.vocabularies)
    with _staged(output) as stream, _WRITERS[output.suffix](stream, width) as writer:
        for block in source:
            batch = block.decoded.batch
            errors = detector.score(batch.values).errors
            writer.write(batch.rows, errors, detector.embed(batch.values))
            vectors += len(batch)
            rejected += len(block.decoded.rejects)
            progress(vectors)
        if not vectors:
            raise DataError(
                f"{file}: no row is a vector of the bundle's spec ({rejected} rejected)."
            )
    return Embedded(vectors, width, rejected)


def check_output(output: Path) -> None:
    """Refuse an output of no known format, before the work is done.

    Raises:
        DataError: its name ends in none of .parquet, .csv and .npy.
    """
    if output.suffix not in _WRITERS:
        raise DataError(f"file {output}: expected a name that ends in {', '.join(_WRITERS)}.")


class _TableWriter:
    """Parquet or CSV: a column for each number."""

    def __init__(self, stream: IO[bytes], width: int, format_writer: Any) -> None:
        names = ["row", "error", *(f"latent_{i}" for i in range(width))]
        kinds = [pa.int64(), *[pa.float32()] * (width + 1)]
        self._schema = pa.schema(list(zip(names, kinds, strict=True)))
        self._writer = format_writer(stream, self._schema)

    def __enter__(self) -> "_TableWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def write(self, rows: Indices, errors: NDArray[np.float32], latent: Matrix) -> None:
        columns = [rows, errors, *np.ascontiguousarray(latent.T)]
        self._writer.write_table(pa.table(list(map(pa.array, columns)), schema=self._schema))


class _NumpyWriter:
    """One structured array; its header is written again once the length is known."""

    def __init__(self, stream: IO[bytes], width: int) -> None:
        self._stream, self._count = stream, 0
        self._kind = np.dtype([("row", "<i8"), ("error", "<f4"), ("latent", "<f4", (width,))])
        self._write_header()

    def __enter__(self) -> "_NumpyWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.seek(0)
        self._write_header()

    def write(self, rows: Indices, errors: NDArray[np.float32], latent: Matrix) -> None:
        records = np.empty(len(rows), self._kind)
        records["row"], records["error"], records["latent"] = rows, errors, latent
        self._stream.write(records.tobytes())
        self._count += len(rows)

    def _write_header(self) -> None:
        """NumPy leaves room in it for the largest count there may be, so its size stays."""
        facts = {
            "descr": np.lib.format.dtype_to_descr(self._kind),
            "fortran_order": False,
            "shape": (self._count,),
        }
        np.lib.format.write_array_header_1_0(self._stream, facts)


def _parquet_writer(stream: IO[bytes], schema: pa.Schema) -> Any:
    """Without dictionaries: of numbers that are all different they are a second copy."""
    return pa.parquet.ParquetWriter(stream, schema, compression="zstd", use_dictionary=False)


_WRITERS: dict[str, Callable[[IO[bytes], int], _TableWriter | _NumpyWriter]] = {
    ".parquet": lambda to, width: _TableWriter(to, width, _parquet_writer),
    ".csv": lambda to, width: _TableWriter(to, width, pa.csv.CSVWriter),
    ".npy": _NumpyWriter,
}


@contextmanager
def _staged(output: Path) -> Iterator[IO[bytes]]:
    """A file beside the output that takes its place when all went well."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{output.name}.", dir=output.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                yield stream
            Path(name).chmod(0o644)
            Path(name).replace(output)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"file {output}: cannot be written ({error.strerror}).") from error
