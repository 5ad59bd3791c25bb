"""Raw float32 rows become vectors: the least that a record can be.

    record = header(spec, rows=1024) + matrix.astype("<f4").tobytes()      # matrix: (1024, f)

A record is a header of 56 bytes and the rows behind it, all little-endian:

| offset | bytes | what                                                     |
|--------|-------|----------------------------------------------------------|
| 0      | 8     | magic: 8A 46 33 32 52 4F 57 53 (`\\x8aF32ROWS`)           |
| 8      | 4     | version, 1                                               |
| 12     | 4     | features of a row                                        |
| 16     | 8     | rows                                                     |
| 24     | 32    | sha256 of the spec, as `monitor spec digest` prints it   |
| 56     |       | rows x features float32, features in spec order          |

Booleans are 0 or 1. A producer cannot know the codes that a bundle gives to categories, so a spec
that has categorical features is not written this way. Nor is it said whom a row is about, or when
it was, and `select` has been applied by whoever wrote it.
"""

import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from monitor.batch import Decoded, EventIdentity, Indices, Matrix, Origins, Reject, VectorBatch
from monitor.features import FeatureSpec
from monitor.ingest.json_document import RecordError
from monitor.ingest.limits import Limits
from monitor.reasons import Reason

MAGIC = b"\x8aF32ROWS"
VERSION = 1
_HEADER = struct.Struct("<8sIIQ32s")
_FLOAT_BYTES = 4
_SHOWN = 12  # characters of a digest in an error


def header(spec: FeatureSpec, rows: int) -> bytes:
    """The header of a record of so many rows."""
    return _HEADER.pack(MAGIC, VERSION, len(spec), rows, bytes.fromhex(spec.digest))


class Float32Codec:
    """Decodes float32 rows by one spec.

    Args:
        vocabularies: not needed; there are no categories.
        read_origins: also say of each vector that nothing is known of whom and when it was.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        vocabularies: Sequence[Sequence[str]] = (),  # noqa: ARG002
        limits: Limits = Limits(),  # noqa: B008
        read_origins: bool = False,
    ) -> None:
        self.spec = spec
        self._limits, self._read_origins = limits, read_origins
        self._booleans = spec.columns_of("boolean")
        self._categorical = [spec.names[i] for i in spec.columns_of("categorical")]

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        """Decode records; one with a row that is no vector is one reject."""
        matrices = [np.empty((0, len(self.spec)), np.float32)]
        rows, rejects = [], []
        for row, value in enumerate(values):
            read = self._record(row, value)
            if isinstance(read, Reject):
                rejects.append(read)
            else:
                matrices.append(read)
                rows.append(row)
        counts = [len(matrix) for matrix in matrices[1:]]
        matrix = np.concatenate(matrices)  # which may be written to, as the records may not
        return Decoded(self._batch(matrix, np.array(rows, np.int64), counts), rejects)

    def identify(self, value: bytes, within: int = -1) -> EventIdentity:
        """The values of one row of a record that decoded."""
        row = self._rows(value)[within]
        kinds = [feature.kind for feature in self.spec.features]
        return EventIdentity(
            tuple(
                bool(number) if kind == "boolean" else float(str(number))
                for number, kind in zip(row, kinds, strict=True)
            )
        )

    def _batch(self, matrix: Matrix, records: Indices, counts: Sequence[int]) -> VectorBatch:
        within = np.concatenate([np.arange(n, dtype=np.int32) for n in [0, *counts]])
        unknown = np.full(len(matrix), -1, np.int32), (), [None] * len(matrix)
        origins = Origins(*unknown) if self._read_origins else None
        return VectorBatch(matrix, np.repeat(records, counts), origins, within)

    def _record(self, row: int, value: bytes | None) -> Matrix | Reject:
        rows = 1
        try:
            value = self._limits.check_value(value)
            rows = _claimed_rows(value)
            self._check_header(value, rows)
            matrix = self._rows(value)
            self._check_rows(matrix)
        except RecordError as error:
            return Reject(row, error.reason, error.error, self._limits.counted(rows))
        return matrix

    def _check_header(self, value: bytes, rows: int) -> None:
        _, version, features, _, digest = _HEADER.unpack_from(value)
        if version != VERSION:
            raise RecordError(
                Reason.MALFORMED_FLOAT32, f"version {version} of the header, not {VERSION}"
            )
        if digest.hex() != self.spec.digest:
            raise RecordError(
                Reason.ANOTHER_SPEC,
                f"rows of the spec {digest.hex()[:_SHOWN]}…, the bundle's is "
                f"{self.spec.digest[:_SHOWN]}…",
            )
        if self._categorical:
            raise RecordError(
                Reason.WRONG_TYPE,
                f"{self._categorical[0]!r} is categorical, which float32 rows cannot say; "
                "send Arrow or JSON",
            )
        self._limits.check_claims(rows, len(self.spec))
        expected = _HEADER.size + rows * features * _FLOAT_BYTES
        if features != len(self.spec) or len(value) != expected:
            raise RecordError(
                Reason.MALFORMED_FLOAT32,
                f"{len(value)} bytes, {rows} rows of {features} features are {expected}",
            )

    def _rows(self, value: bytes) -> Matrix:
        rows: NDArray[np.float32] = np.frombuffer(value, "<f4", offset=_HEADER.size)
        return rows.reshape(-1, len(self.spec))

    def _check_rows(self, matrix: Matrix) -> None:
        """Refuse what is not finite, and a boolean that is neither 0 nor 1; the first is named."""
        if not len(matrix):
            return
        fine = -np.inf < matrix.min() and matrix.max() < np.inf
        booleans = matrix[:, self._booleans]
        if fine and ((booleans == 0) | (booleans == 1)).all():
            return
        wrong = ~np.isfinite(matrix)
        wrong[:, self._booleans] |= (booleans != 0) & (booleans != 1)
        row, column = np.argwhere(wrong)[0]
        number, name = matrix[row, column], self.spec.names[column]
        where = f"row {row + 1} of {len(matrix)}: {name!r} is {number}"
        if np.isfinite(number):
            raise RecordError(Reason.WRONG_TYPE, f"{where}, expected 0 or 1")
        raise RecordError(Reason.NOT_FINITE, f"{where}, not a finite number")


def _claimed_rows(value: bytes) -> int:
    """How many rows a record says it has.

    Raises:
        RecordError: it has no header.
    """
    if not value.startswith(MAGIC) or len(value) < _HEADER.size:
        raise RecordError(Reason.MALFORMED_FLOAT32, "no whole header of float32 rows")
    return int(_HEADER.unpack_from(value)[3])
