"""A bound on what a compressed batch of records may become.

Kafka bounds only what a batch takes compressed, and zstd makes a gigabyte of 100 kB. kafka-python
3.0.12 decompresses all of it at once; after `bound`, a batch that takes more than
`MAX_BATCH_BYTES` is not decompressed any further, and each record that its header claims is handed
out with an `Unread` value, which every codec refuses.

Apache Kafka has compared the header's claims with the records before it stores a batch. Of a
compacted batch, and behind other brokers, they say no more than how many records there are at
most. The format of before Kafka 0.11 claims nothing: such a batch is one record, its last.
"""

import io
import struct
from collections.abc import Callable, Iterator
from gzip import GzipFile
from typing import cast

import kafka.codec
import lz4.frame
import zstandard
from kafka.record import default_records, legacy_records
from kafka.record.default_records import DefaultRecord, DefaultRecordBatch
from kafka.record.legacy_records import LegacyRecordBatch

from monitor.batch import Unread

MAX_BATCH_BYTES = 67_108_864
"""Of records, decompressed; producers make batches of 16 kB to 1 MB, that shrink 10 to 50 times."""

_XERIAL_HEADER_BYTES = 16

Data = bytes | memoryview


class BatchTooLargeError(Exception):
    """A batch takes more than `MAX_BATCH_BYTES` decompressed."""


def _bounded(data: bytes) -> bytes:
    if len(data) > MAX_BATCH_BYTES:
        raise BatchTooLargeError
    return data


def _gzip(payload: Data) -> bytes:
    with GzipFile(fileobj=io.BytesIO(payload)) as stream:
        return _bounded(stream.read(MAX_BATCH_BYTES + 1))


def _zstd(payload: Data) -> bytes:
    source = io.BytesIO(payload)
    with zstandard.ZstdDecompressor().stream_reader(source, read_across_frames=True) as stream:
        return _bounded(stream.read(MAX_BATCH_BYTES + 1))


def _lz4(payload: Data) -> bytes:
    stream = lz4.frame.LZ4FrameDecompressor()
    data = _bounded(stream.decompress(payload, MAX_BATCH_BYTES + 1))
    if not stream.eof:
        raise RuntimeError("LZ4 frame is incomplete")
    return data


def _snappy(payload: Data) -> bytes:
    """What a block claims is what its decoder allots, and it must come to exactly that."""
    data = bytes(payload)
    if sum(map(_claimed_length, _snappy_blocks(data))) > MAX_BATCH_BYTES:
        raise BatchTooLargeError
    return cast(bytes, kafka.codec.snappy_decode(data))


def _snappy_blocks(data: bytes) -> Iterator[bytes]:
    """The beginnings of the blocks, as `kafka.codec.snappy_decode` finds them."""
    if not kafka.codec._detect_xerial_stream(data):
        yield data[:5]
        return
    at = _XERIAL_HEADER_BYTES
    while at < len(data):
        (size,) = struct.unpack_from("!i", data, at)
        if size < 0:
            raise ValueError("a block of snappy has a negative size")
        yield data[at + 4 : at + 9]
        at += 4 + size


def _claimed_length(block: bytes) -> int:
    """The varint that a block begins with."""
    length = 0
    for place, byte in enumerate(block):
        length |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            break
    return length


def _unread(
    first: int, count: int, batch: DefaultRecordBatch | LegacyRecordBatch
) -> Iterator[DefaultRecord]:
    error = f"its batch takes more than the {MAX_BATCH_BYTES} bytes allowed decompressed"
    value = Unread(error)
    is_new = isinstance(batch, DefaultRecordBatch)
    time_ms = batch.max_timestamp if is_new else batch._timestamp or -1
    for offset in range(first, first + count):
        yield DefaultRecord(0, offset, time_ms, batch.timestamp_type, None, value, [])


_iterate: Callable[[DefaultRecordBatch], Iterator[DefaultRecord]] = DefaultRecordBatch.__iter__
_iterate_legacy: Callable[[LegacyRecordBatch], Iterator[DefaultRecord]] = LegacyRecordBatch.__iter__


def _records(batch: DefaultRecordBatch) -> Iterator[DefaultRecord]:
    try:
        return _iterate(batch)
    except BatchTooLargeError:
        count = max(min(batch.records_count, batch.last_offset_delta + 1), 1)
        return _unread(batch.base_offset, count, batch)


def _legacy_records(batch: LegacyRecordBatch) -> Iterator[DefaultRecord]:
    try:
        yield from _iterate_legacy(batch)
    except BatchTooLargeError:
        yield from _unread(batch.base_offset, 1, batch)


def bound() -> None:
    """Make kafka-python keep to it."""
    DefaultRecordBatch.__iter__ = _records
    LegacyRecordBatch.__iter__ = _legacy_records
    for module in (default_records, legacy_records):
        module.gzip_decode, module.snappy_decode, module.lz4_decode = _gzip, _snappy, _lz4
    default_records.zstd_decode = _zstd
    kafka.codec.lz4_decode = _lz4  # behind lz4_decode_old_kafka
