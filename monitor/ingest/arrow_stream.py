"""What an Arrow IPC stream claims to hold, known before anything is loaded or decompressed.

    claims = Claims()
    with refusing():
        claims.read(value)       # claims.vectors, claims.decoded_bytes, claims.schema

Row counts, the sizes of compressed buffers and those of dictionaries stand in the messages'
metadata and in the first eight bytes of each buffer, so that a record can be refused by what it
would become. The layout is that of Arrow's `Message.fbs` and of its encapsulated messages: a
marker, the length of a flatbuffer, the flatbuffer, the body. Only claims are read here, from bytes
that may be hostile; Arrow's own reader verifies all of it again.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from monitor.ingest.json_document import RecordError
from monitor.reasons import Reason

STREAM_MAGIC = b"\xff\xff\xff\xff"
"""Marks each message, and so begins a stream, since Arrow 0.15."""
FILE_MAGIC = b"ARROW1\0\0"
"""Begins an IPC file; behind it stands a stream, and behind that a footer."""

_SCHEMA, _DICTIONARY, _RECORD_BATCH = 1, 2, 3
_VERSION_5 = 4  # counted from 0; before it compression was written elsewhere
_MESSAGE = {"version": 0, "kind": 1, "header": 2, "body_bytes": 3}
_BATCH = {"length": 0, "buffers": 2, "compression": 3}
_DICTIONARY_DATA = 1
_MOST_MESSAGES = 1_024
"""Each costs as much as many rows, however few are in it."""
_PREFIX_BYTES = 8  # before each compressed buffer: its size decompressed; -1 where it is not
_HOSTILE = (
    *(pa.ArrowException, OSError, MemoryError, ValueError, LookupError, struct.error),
    *(ArithmeticError, RecursionError),  # of values that are beyond Python's types
)


@contextmanager
def refusing() -> Iterator[None]:
    """Make a refusal of whatever is said of bytes that are no stream."""
    try:
        yield
    except _HOSTILE as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RecordError(Reason.MALFORMED_ARROW, f"not a whole Arrow stream: {text}") from None


def stream_of(value: bytes) -> pa.Buffer:
    """The stream in a value, which is one or an IPC file."""
    buffer = pa.py_buffer(value)
    return buffer.slice(len(FILE_MAGIC)) if value.startswith(FILE_MAGIC) else buffer


@dataclass
class Claims:
    """What a stream says of itself, as far as it has been read.

    Attributes:
        schema: the bytes of its schema message.
        vectors: rows of all its record batches.
        decoded_bytes: what its buffers take once decompressed; a dictionary that grows counts
            again with each addition, as it is copied.
    """

    schema: bytes = b""
    vectors: int = 0
    decoded_bytes: int = 0

    def read(self, value: bytes) -> None:
        """Walk through the messages of a value.

        Raises:
            ValueError, struct.error: they are none.
            RecordError: there are too many.
        """
        dictionary_bytes = 0
        for count, (metadata, body) in enumerate(_messages(value)):
            if count > _MOST_MESSAGES:
                error = f"more than {_MOST_MESSAGES} batches and dictionaries"
                raise RecordError(Reason.TOO_LARGE, error)
            message = _Flatbuffer(metadata)
            kind = message.int8(message.root, _MESSAGE["kind"])
            batch = message.table(message.root, _MESSAGE["header"])
            if not self.schema:
                if kind != _SCHEMA:
                    raise ValueError("it does not begin with a schema")
                self.schema = bytes(metadata)
                continue
            if message.int16(message.root, _MESSAGE["version"]) < _VERSION_5:
                raise ValueError("it was written by an Arrow of before 1.0")
            if kind == _DICTIONARY:
                batch = message.table(batch, _DICTIONARY_DATA)
            elif kind != _RECORD_BATCH:
                raise ValueError("it holds a message that is no record batch")
            elif (rows := message.int64(batch, _BATCH["length"])) < 0:
                raise ValueError(f"a batch of {rows} rows")
            else:
                self.vectors += rows
            if len(body) < (wanted := message.int64(message.root, _MESSAGE["body_bytes"])):
                raise ValueError(f"{len(body)} of {wanted} bytes of a message")
            size = _decoded_bytes(message, batch, body)
            dictionary_bytes += size if kind == _DICTIONARY else 0
            self.decoded_bytes += dictionary_bytes if kind == _DICTIONARY else size
        if not self.schema:
            raise ValueError("it has no schema")


def _messages(value: bytes) -> Iterator[tuple[memoryview, memoryview]]:
    """The flatbuffer of each message, and its body, which may end too early.

    Raises:
        ValueError: there is something else between or behind them.
    """
    is_file = value.startswith(FILE_MAGIC)
    rest = memoryview(value)[len(FILE_MAGIC) if is_file else 0 :]
    while rest:
        marker, size = struct.unpack_from("<4si", rest)
        if marker != STREAM_MAGIC or size < 0:
            raise ValueError("a message without its marker")
        if size == 0:
            if len(rest) > 8 and not is_file:
                raise ValueError(f"{len(rest) - 8} bytes stand behind its end")
            return
        metadata, rest = rest[8 : 8 + size], rest[8 + size :]
        if len(metadata) < size:
            raise ValueError(f"{len(metadata)} of {size} bytes of a message's metadata")
        message = _Flatbuffer(metadata)
        body_bytes = message.int64(message.root, _MESSAGE["body_bytes"])
        if body_bytes < 0:
            raise ValueError(f"a message of {body_bytes} bytes")
        yield metadata, rest[:body_bytes]
        rest = rest[body_bytes:]


def _decoded_bytes(message: "_Flatbuffer", batch: int, body: memoryview) -> int:
    """Bytes of the buffers of a record batch, decompressed."""
    if not message.has(batch, _BATCH["compression"]):
        return len(body)
    buffers = message.pairs(batch, _BATCH["buffers"])
    filled = buffers[buffers[:, 1] > 0]
    if not len(filled):
        return 0
    where, octets = filled[:, 0], np.frombuffer(body, np.uint8)
    if where.min() < 0 or where.max() > len(octets) - _PREFIX_BYTES:
        raise ValueError("a buffer lies outside of its message")
    prefixes = octets[where[:, None] + np.arange(_PREFIX_BYTES)].view("<i8")[:, 0]
    if prefixes.min() < -1:
        raise ValueError("a compressed buffer of negative size")
    sizes: list[int] = np.where(prefixes == -1, filled[:, 1], prefixes).tolist()
    return sum(sizes)


class _Flatbuffer:
    """Reads fields of flatbuffer tables; a table is the position at which it stands.

    Positions that lead outside end in a struct.error or a ValueError.
    """

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self.root = self._at("<I", 0)

    def has(self, table: int, slot: int) -> bool:
        """Whether a table has a field."""
        return self._find(table, slot) is not None

    def int8(self, table: int, slot: int) -> int:
        """A number; 0 where it is left out."""
        return self._number("<b", table, slot)

    def int16(self, table: int, slot: int) -> int:
        """A number; 0 where it is left out."""
        return self._number("<h", table, slot)

    def int64(self, table: int, slot: int) -> int:
        """A number; 0 where it is left out."""
        return self._number("<q", table, slot)

    def table(self, table: int, slot: int) -> int:
        """The table that a field refers to.

        Raises:
            ValueError: there is none.
        """
        if (at := self._find(table, slot)) is None:
            raise ValueError("a message without content")
        return at + self._at("<I", at)

    def pairs(self, table: int, slot: int) -> NDArray[np.int64]:
        """A vector of structs of two int64, (n, 2)."""
        if (at := self._find(table, slot)) is None:
            return np.empty((0, 2), np.int64)
        at += self._at("<I", at)
        count = self._at("<I", at)
        return np.frombuffer(self._data, "<i8", 2 * count, at + 4).reshape(count, 2)

    def _number(self, form: str, table: int, slot: int) -> int:
        at = self._find(table, slot)
        return 0 if at is None else self._at(form, at)

    def _find(self, table: int, slot: int) -> int | None:
        vtable = table - self._at("<i", table)
        entry = 4 + 2 * slot
        if vtable < 0 or entry >= self._at("<H", vtable):
            return None
        offset = self._at("<H", vtable + entry)
        return table + offset if offset else None

    def _at(self, form: str, position: int) -> int:
        return int(struct.unpack_from(form, self._data, position)[0])
