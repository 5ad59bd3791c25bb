"""What a data file is shows in its first bytes, not in its name.

    source = open_source(Path("conn.log.gz"))

gives a Table, or JsonLines, to be read in blocks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet

from monitor.errors import DataError
from monitor.features import FeatureSpec
from monitor.ingest.delimited import ZEEK_START, open_delimited, open_zeek
from monitor.ingest.parquet import PARQUET_START, open_parquet
from monitor.ingest.tables import Table
from monitor.ingest.textfile import BYTE_ORDER_MARK, line_blocks, open_bytes, reading

_START_BYTES = 1 << 20
_JSON_STARTS = (b"{", b"[")
_READABLE = "expected CSV, TSV or JSON lines (plain, gzip or xz) or Parquet"
_UNREADABLE = {
    b"PK\x03\x04": "is a zip archive",
    b"BZh": "is compressed with bzip2",
    b"\x28\xb5\x2f\xfd": "is compressed with zstd",
    b"7z\xbc\xaf": "is a 7-zip archive",
    b"ORC": "is an ORC file",
    b"\xd4\xc3\xb2\xa1": "is a packet capture",
}


@dataclass(frozen=True)
class JsonLines:
    """A file of one JSON document a line."""

    path: Path

    def blocks(self) -> Iterator[list[bytes]]:
        """The lines that are not blank, in blocks."""
        with reading(self.path):
            for block in line_blocks(self.path):
                lines = block.removeprefix(BYTE_ORDER_MARK).split(b"\n")
                if lines := [line for line in lines if line.strip()]:
                    yield lines


def open_source(path: Path, spec: FeatureSpec | None = None) -> Table | JsonLines:
    """Open a data file; `spec` helps to tell a header from data.

    Raises:
        DataError: it cannot be read, is empty or is of no format known here.
    """
    with reading(path):
        with open_bytes(path) as stream:
            start = stream.read(_START_BYTES)
        if start.startswith(PARQUET_START):
            return open_parquet(path)
        start = start.removeprefix(BYTE_ORDER_MARK).lstrip()
        if start.startswith(_JSON_STARTS):
            return JsonLines(path)
        _refuse_unreadable(path, start)
        if start.startswith(ZEEK_START):
            return open_zeek(path, start)
        return open_delimited(path, start, spec)


def row_count(path: Path) -> int:
    """How many rows a file has, give or take header and blank lines; for a progress bar."""
    with reading(path):
        with open_bytes(path) as stream:
            is_parquet = stream.read(len(PARQUET_START)) == PARQUET_START
        if is_parquet:
            return int(pyarrow.parquet.read_metadata(path).num_rows)
        return sum(block.count(b"\n") for block in line_blocks(path))


def _refuse_unreadable(path: Path, start: bytes) -> None:
    if not start:
        raise DataError(f"file {path}: is empty; {_READABLE}.")
    for magic, what in _UNREADABLE.items():
        if start.startswith(magic):
            raise DataError(f"file {path}: {what}; {_READABLE}.")
    if b"\0" in start[:4096]:
        raise DataError(f"file {path}: is binary; {_READABLE}.")
