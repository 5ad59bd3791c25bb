"""Raw float32 rows: the header says what they are, and is believed only where it is right."""

import struct

import numpy as np
import pytest

from monitor.features import FeatureSpec
from monitor.ingest.float32_codec import Float32Codec, header
from monitor.reasons import Reason


def numeric(*names: str) -> FeatureSpec:
    features = [{"name": name, "kind": "numeric"} for name in names]
    return FeatureSpec.parse({"name": "numbers", "features": features}, "test")


SPEC = numeric("a", "b")
ROWS = np.array([[1, 2], [3, 4], [5, 6]], "<f4")
RECORD = header(SPEC, 3) + ROWS.tobytes()


def refused(value: bytes) -> tuple[Reason, str, int]:
    decoded = Float32Codec(SPEC).decode([value])
    assert not len(decoded.batch)
    [reject] = decoded.rejects
    return reject.reason, reject.error, reject.vectors


def test_the_layout_is_the_documented_one() -> None:
    assert len(header(SPEC, 3)) == 56
    assert RECORD[:8] == b"\x8aF32ROWS"
    assert struct.unpack("<IIQ", RECORD[8:24]) == (1, 2, 3)
    assert RECORD[24:56].hex() == SPEC.digest
    assert RECORD[56:60] == struct.pack("<f", 1)


def test_rows_of_another_spec_are_refused_and_both_are_named() -> None:
    other = numeric("a", "c")
    reason, error, count = refused(header(other, 3) + ROWS.tobytes())
    assert (reason, count) == (Reason.ANOTHER_SPEC, 3)
    assert other.digest[:12] in error
    assert SPEC.digest[:12] in error


@pytest.mark.parametrize(
    ("value", "reason", "vectors"),
    [
        (RECORD[:-1], Reason.MALFORMED_FLOAT32, 3),
        (RECORD + b"\0\0\0\0", Reason.MALFORMED_FLOAT32, 3),
        (RECORD[:56], Reason.MALFORMED_FLOAT32, 3),
        (RECORD[:55], Reason.MALFORMED_FLOAT32, 1),
        (RECORD[:8], Reason.MALFORMED_FLOAT32, 1),
        (b"{}" + RECORD, Reason.MALFORMED_FLOAT32, 1),
        (RECORD[:8] + b"\x02" + RECORD[9:], Reason.MALFORMED_FLOAT32, 3),
        (RECORD[:12] + b"\x03" + RECORD[13:], Reason.MALFORMED_FLOAT32, 3),
        (header(SPEC, 10_000_000), Reason.TOO_LARGE, 65_536),
        (RECORD[:16] + b"\xff" * 8 + RECORD[24:], Reason.TOO_LARGE, 65_536),
    ],
)
def test_what_the_header_does_not_account_for_is_refused(
    value: bytes, reason: Reason, vectors: int
) -> None:
    assert refused(value)[::2] == (reason, vectors)


def test_no_rows_are_no_vectors() -> None:
    decoded = Float32Codec(SPEC).decode([header(SPEC, 0)])
    assert (len(decoded.batch), len(decoded.rejects)) == (0, 0)


def test_several_records_are_one_matrix() -> None:
    batch = Float32Codec(SPEC).decode([RECORD, None, RECORD]).batch
    assert batch.values.tolist() == [*ROWS.tolist(), *ROWS.tolist()]
    assert batch.rows.tolist() == [0, 0, 0, 2, 2, 2]
    assert batch.within is not None
    assert batch.within.tolist() == [0, 1, 2] * 2
