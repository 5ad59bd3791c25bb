"""Batches that take far more memory than they seem to: refused before they take it."""

from collections.abc import Callable

import kafka.codec as upstream
import pytest
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from kafka.record.legacy_records import LegacyRecordBatch, LegacyRecordBatchBuilder

from monitor.batch import Unread
from monitor.features import FeatureSpec
from monitor.ingest.codec import build_codec
from monitor.reasons import Reason
from monitor.stream import client as client  # bounds it
from monitor.stream.decompression import MAX_BATCH_BYTES

CODECS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
HALF = bytes(MAX_BATCH_BYTES // 2)

Make = Callable[[int, list[bytes]], bytes]


def new(codec: int, values: list[bytes]) -> bytes:
    builder = DefaultRecordBatchBuilder(2, codec, False, -1, -1, -1, 2**30)
    for offset, value in enumerate(values):
        builder.append(offset, 7, None, value, [])
    return bytes(builder.build())


def legacy(codec: int, values: list[bytes]) -> bytes:
    builder = LegacyRecordBatchBuilder(1, codec, 2**30)
    for offset, value in enumerate(values):
        builder.append(offset, 7, None, value)
    return bytes(builder.build())


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_a_batch_over_the_bound_is_a_record_without_value_for_each_it_claims(codec: int) -> None:
    records = [*DefaultRecordBatch(new(codec, [HALF, HALF]))]
    assert [(r.offset, r.timestamp, r.value) for r in records] == [(0, 7, b""), (1, 7, b"")]
    assert all(isinstance(record.value, Unread) for record in records)


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_a_batch_within_the_bound_is_read(codec: int) -> None:
    values = [HALF, b"second"]
    assert [record.value for record in DefaultRecordBatch(new(codec, values))] == values


@pytest.mark.parametrize("codec", [1, 2, 3], ids=["gzip", "snappy", "lz4"])
def test_an_old_batch_over_the_bound_is_one_record(codec: int) -> None:
    [record] = LegacyRecordBatch(legacy(codec, [HALF, HALF]), 1)
    assert isinstance(record.value, Unread)
    assert [r.value for r in LegacyRecordBatch(legacy(codec, [b"a", b"b"]), 1)] == [b"a", b"b"]


@pytest.mark.parametrize("format", ["auto", "json", "arrow", "float32"])
def test_its_records_are_too_large_in_every_format(format: str) -> None:
    spec = FeatureSpec.model_validate({"name": "s", "features": [{"name": "x", "kind": "numeric"}]})
    [reject] = build_codec(spec, [[]], format).decode([Unread("why")]).rejects  # type: ignore[arg-type]
    assert (reject.reason, reject.error) == (Reason.TOO_LARGE, "why")


def test_kafka_python_still_needs_the_bound() -> None:
    bomb = upstream.gzip_encode(bytes(MAX_BATCH_BYTES + 1))
    assert len(upstream.gzip_decode(bomb)) > MAX_BATCH_BYTES, "monitor/stream/decompression.py"
