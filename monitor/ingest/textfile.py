"""The bytes of a data file: decompressed, in blocks of whole lines, errors as one sentence."""

import gzip
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import pyarrow as pa

from monitor.errors import DataError

BLOCK_BYTES = 1 << 22
MAX_LINE_BYTES = 1 << 26
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_GZIP, _XZ = b"\x1f\x8b", b"\xfd7zXZ\x00"


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what reading a file may raise into a DataError."""
    try:
        yield
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise DataError(f"file {path}: its compressed data is damaged ({error}).") from error
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"file {path}: cannot be read ({reason}).") from error
    except pa.ArrowException as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise DataError(f"file {path}: cannot be read ({reason}).") from error


def open_bytes(path: Path) -> IO[bytes]:
    """The content of a plain, gzip or xz file; which it is, its first bytes tell."""
    with path.open("rb") as raw:
        start = raw.read(len(_XZ))
    if start.startswith(_GZIP):
        return cast(IO[bytes], gzip.open(path))
    return cast(IO[bytes], lzma.open(path)) if start == _XZ else path.open("rb")


def line_blocks(path: Path) -> Iterator[bytes]:
    """The content in blocks of about `BLOCK_BYTES` that end with a line.

    Raises:
        DataError: a line is longer than `MAX_LINE_BYTES`.
    """
    with open_bytes(path) as stream:
        rest = b""
        while chunk := stream.read(BLOCK_BYTES):
            head, newline, tail = chunk.rpartition(b"\n")
            if newline:
                yield rest + head + newline
                rest = tail
            elif len(rest := rest + chunk) > MAX_LINE_BYTES:
                raise DataError(f"file {path}: has a line of more than {MAX_LINE_BYTES} bytes.")
        if rest:
            yield rest
