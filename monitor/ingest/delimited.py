"""Text tables: CSV and its kin with or without a header, and the TSV of Zeek.

Zeek says what its cells mean in lines that start with `#`. IoT-23 publishes such logs with label
columns that are set apart by three spaces instead of a tab, header alike.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from monitor.errors import DataError
from monitor.features import FeatureSpec
from monitor.ingest.tables import Malformed, RowBlock, Table, trimmed, unique_names
from monitor.ingest.textfile import BLOCK_BYTES, BYTE_ORDER_MARK, line_blocks

DELIMITERS = ",;\t|"
ZEEK_START = b"#separator"
_SAMPLE_LINES = 50
_IOT23_GAP = "   "
_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n|$)")


@dataclass(frozen=True)
class Dialect:
    """How the lines of a text file become rows.

    Attributes:
        width: cells of a well-formed row.
        zeek: cells are never quoted, nor padded; lines that start with `#` are no rows.
        missing: the cell that stands for no value.
        empty: the cell that stands for a value without content, where there is one.
        gap: a second delimiter.
    """

    delimiter: str
    width: int
    header_lines: int = 0
    zeek: bool = False
    missing: str = ""
    empty: str | None = None
    gap: str | None = None


def open_delimited(path: Path, start: bytes, spec: FeatureSpec | None) -> Table:
    """A table of delimited text that begins with `start`.

    Whether its first line is a header, the spec decides, or without one the look of its cells.
    """
    lines = start.decode("utf-8", "replace").splitlines()[:_SAMPLE_LINES]
    delimiter = _sniff_delimiter(lines, set(spec.paths) if spec else set())
    first, *others = _split(lines, delimiter)
    has_header = _names_fields(first, spec) if spec else _looks_like_header(first)
    if has_header:
        columns = unique_names(first)
    else:
        width, _ = Counter(map(len, (first, *others))).most_common(1)[0]
        columns = tuple(str(position) for position in range(1, width + 1))
    dialect = Dialect(delimiter, len(columns), header_lines=int(has_header))
    return Table(path, columns, lambda wanted: _read(path, dialect, wanted), has_header)


def open_zeek(path: Path, start: bytes) -> Table:
    """A table of a Zeek log that begins with `start`.

    Raises:
        DataError: it does not say what its fields are.
    """
    directives: dict[str, str] = {}
    for line in start.decode("utf-8", "replace").splitlines():
        if not line.startswith("#"):
            break
        name, _, value = line[1:].partition("\t")
        directives[name] = value
    if not (fields := directives.get("fields", "")):
        raise DataError(f"file {path}: is a Zeek log without a #fields line.")
    gap = _IOT23_GAP if _IOT23_GAP in fields else None
    columns = unique_names(fields.replace(_IOT23_GAP, "\t").split("\t"))
    dialect = Dialect(
        "\t",
        len(columns),
        zeek=True,
        missing=directives.get("unset_field", "-"),
        empty=directives.get("empty_field", "(empty)"),
        gap=gap,
    )
    return Table(path, columns, lambda wanted: _read(path, dialect, wanted))


def _read(path: Path, dialect: Dialect, wanted: Sequence[int]) -> Iterator[RowBlock]:
    first_row, header_lines = 0, dialect.header_lines
    blocks = line_blocks(path)
    for block in blocks if dialect.zeek else _closed_quotes(blocks):
        text = _clean(block, dialect)
        while header_lines and text:
            line = _LINE.match(text)
            assert line is not None
            text = text[line.end() :]
            header_lines -= bool(line[0].strip())
        if text.strip():
            parsed = _parse(text, dialect, wanted, first_row)
            first_row += parsed.count
            yield parsed


def _closed_quotes(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Join blocks until no quoted cell is left open, or it is clear that none will be closed."""
    pending = b""
    for block in blocks:
        pending += block
        if pending.count(b'"') % 2 == 0 or len(pending) > 4 * BLOCK_BYTES:
            yield pending
            pending = b""
    if pending:
        yield pending


def _clean(block: bytes, dialect: Dialect) -> bytes:
    """Rows only, as UTF-8; bytes that are none become U+FFFD."""
    block = block.removeprefix(BYTE_ORDER_MARK)
    if not block.isascii():
        block = block.decode("utf-8", "replace").encode()
    if dialect.zeek and b"#" in block:
        block = re.sub(rb"(?m)^[ \t]*#.*$", b"", block)
    return block.replace(dialect.gap.encode(), b"\t") if dialect.gap else block


def _parse(text: bytes, dialect: Dialect, wanted: Sequence[int], first_row: int) -> RowBlock:
    table, invalid = _parse_csv(text, dialect, wanted)
    bad = np.array([row.number - 1 for row in invalid], dtype=np.int64)
    count = len(table) + len(bad)
    arrays = {name: table.column(name).combine_chunks() for name in table.column_names}
    if dialect.empty is not None:
        arrays = {k: pc.if_else(pc.equal(a, dialect.empty), "", a) for k, a in arrays.items()}
    elif re.search(rb"[ \t\v\f]", text):
        arrays = {name: trimmed(array) for name, array in arrays.items()}
    return RowBlock(
        count,
        first_row + np.delete(np.arange(count, dtype=np.int64), bad),
        [arrays[str(i)] for i in wanted],
        [
            Malformed(first_row + row.number - 1, _split([row.text], dialect.delimiter)[0])
            for row in invalid
        ],
    )


def _parse_csv(text: bytes, dialect: Dialect, wanted: Sequence[int]) -> tuple[pa.Table, list[Any]]:
    """One block of rows to a table of text, and the rows of another width.

    A whole block is given at once and by one thread: only then are rows numbered.
    """
    invalid: list[Any] = []

    def skip(row: Any) -> str:
        invalid.append(row)
        return "skip"

    included = [str(i) for i in dict.fromkeys(wanted)]
    table = pa.csv.read_csv(
        pa.BufferReader(text),
        read_options=pa.csv.ReadOptions(
            use_threads=False,
            column_names=[str(i) for i in range(dialect.width)],
            block_size=len(text) + 1,
        ),
        parse_options=pa.csv.ParseOptions(
            delimiter=dialect.delimiter,
            quote_char=False if dialect.zeek else '"',
            newlines_in_values=not dialect.zeek,
            invalid_row_handler=skip,
        ),
        convert_options=pa.csv.ConvertOptions(
            include_columns=included,
            column_types=dict.fromkeys(included, pa.string()),
            null_values=[dialect.missing],
            strings_can_be_null=True,
        ),
    )
    return table, invalid


def _sniff_delimiter(lines: Sequence[str], paths: set[str]) -> str:
    """The delimiter that shows the fields `paths` in the first line or, where there are none, that
    gives most lines the same number of cells, and more than one."""

    def fit(delimiter: str) -> tuple[int, float, int]:
        rows = _split(lines, delimiter)
        widths = Counter(map(len, rows))
        width, alike = widths.most_common(1)[0]
        return (len(paths.intersection(rows[0])), alike / len(rows) if width > 1 else 0.0, width)

    return max(DELIMITERS, key=fit)


def _split(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """Lines to cells, as well as they can be told."""
    try:
        rows = list(islice(csv.reader(lines, delimiter=delimiter), _SAMPLE_LINES))
    except csv.Error:
        rows = [line.split(delimiter) for line in lines]
    return [[cell.strip() for cell in row] for row in rows if row] or [[""]]


def _names_fields(first: Sequence[str], spec: FeatureSpec) -> bool:
    """Whether the first line names fields of the spec, or must, for all of them to be found."""
    paths = {path for path in spec.paths if not path.isdecimal()}
    by_name_only = any(f.column is None and f.path in paths for f in spec.features)
    return by_name_only or not paths.isdisjoint(first)


def _looks_like_header(first: Sequence[str]) -> bool:
    return any(first) and not any(map(_is_number, first))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
