"""Data files become vectors, by the same rules as the records of the stream.

    vectors = open_vectors(Path("flows.csv.gz"), spec, label_column="Label")
    for block in vectors:
        block.decoded.batch.values         # (n, f) float32
        block.decoded.rejects              # the rows that are no vectors, and why
        block.labels                       # one for each vector
    vectors.vocabularies()                 # the categories that were met

A file is read in blocks, so that memory stays bounded however many rows it has.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import orjson

from monitor.batch import Decoded, VectorBatch
from monitor.errors import DataError
from monitor.features import FeatureSpec
from monitor.ingest.formats import JsonLines, open_source
from monitor.ingest.json_document import find, scalar_text
from monitor.ingest.json_reader import RecordReader, joined
from monitor.ingest.table_reader import TableReader, refuse_label
from monitor.ingest.vocabulary import CategoryCodes


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive rows of a file; rows are counted from 0, without header and blank lines.

    Attributes:
        labels: one for each vector of `decoded.batch`, "" where the cell is empty; None where no
            label column was asked for.
    """

    decoded: Decoded
    labels: list[str] | None = None


@dataclass(frozen=True)
class VectorFile:
    """A data file as blocks of vectors; each iteration reads it from its start."""

    path: Path
    _read: Callable[[], Iterator[Block]] = field(repr=False)
    _codes: Sequence[CategoryCodes] = field(repr=False)

    def __iter__(self) -> Iterator[Block]:
        """Read the file.

        Raises:
            DataError: it turns out to be damaged.
        """
        return self._read()

    def vocabularies(self) -> tuple[tuple[str, ...], ...]:
        """Values met so far of each feature in spec order: code i is the i-th, counted from 1."""
        return tuple(codes.words for codes in self._codes)


def open_vectors(
    path: Path,
    spec: FeatureSpec,
    vocabularies: Sequence[Sequence[str]] | None = None,
    label_column: str | None = None,
) -> VectorFile:
    """Open a file of vectors: CSV, TSV, Zeek or JSON lines (plain, gzip or xz) or Parquet.

    Args:
        vocabularies: known values of each feature; any other is then unseen (code 0). Without them
            every value that is met becomes known.
        label_column: its name or its position counted from 1; for JSON lines a path.

    Raises:
        DataError: the file cannot be read, or lacks the label column or a feature without default.
    """
    growing = vocabularies is None
    codes = [CategoryCodes(words, growing) for words in vocabularies or [()] * len(spec)]
    source = open_source(path, spec)
    if isinstance(source, JsonLines):
        lines = _LineReader(source, spec, codes, label_column)
        return VectorFile(path, lines.blocks, codes)
    table = TableReader(source, spec, codes, label_column)
    return VectorFile(path, lambda: (Block(*block) for block in table.read()), codes)


class _LineReader(RecordReader):
    """Reads JSON lines one by one, so that vocabularies grow in their order."""

    def __init__(
        self,
        source: JsonLines,
        spec: FeatureSpec,
        codes: Sequence[CategoryCodes],
        label_column: str | None,
    ) -> None:
        super().__init__(spec, codes)
        self._source = source
        self._label = None if label_column is None else label_column.strip()
        if self._label in spec.paths:
            refuse_label(source.path, spec, spec.names[spec.paths.index(self._label)])
        self._check_start()

    def blocks(self) -> Iterator[Block]:
        first_row = 0
        for lines in self._source.blocks():
            part, found = self.read(lines, range(len(lines)))
            rejects = sorted(found.rejects, key=lambda reject: reject.row)
            decoded = Decoded(joined([part], origins=False), rejects, len(found.passed_over))
            labels = self._labels([lines[row] for row in decoded.batch.rows])
            yield Block(_from_row(decoded, first_row), labels)
            first_row += len(lines)

    def _labels(self, lines: Sequence[bytes]) -> list[str] | None:
        if self._label is None:
            return None
        return [self._label_of(orjson.loads(line)) or "" for line in lines]

    def _label_of(self, document: object) -> str | None:
        if self._label is None or not isinstance(document, dict):
            return None
        inside = scalar_text(find(self.unwrap(document), self._label))
        return inside if inside is not None else scalar_text(find(document, self._label))

    def _check_start(self) -> None:
        """Refuse a file whose first lines are no documents, or never have the label."""
        lines = next(self._source.blocks())
        documents = [document for line in lines if (document := _document(line)) is not None]
        if not documents:
            raise DataError(
                f"file {self._source.path}: looks like JSON, but not one document a line."
            )
        if self._label is not None and all(self._label_of(d) is None for d in documents):
            raise DataError(
                f"file {self._source.path}: none of its first {len(lines)} events has a field "
                f"{self._label!r}."
            )


def _document(line: bytes) -> object:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None


def _from_row(decoded: Decoded, first_row: int) -> Decoded:
    """The same, with rows counted from the start of the file."""
    rows = decoded.batch.rows + np.int64(first_row)
    rejects = [replace(reject, row=reject.row + first_row) for reject in decoded.rejects]
    return Decoded(VectorBatch(decoded.batch.values, rows), rejects, decoded.not_selected)
