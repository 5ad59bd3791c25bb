"""How much of a micro-batch may be decoded at once, where a record may become many vectors.

    for start, end in pieces(values, features, max_bytes):
        codec.decode(values[start:end])

A compressed record says how much it becomes; a micro-batch of such records may become a thousand
times what it took to fetch.
"""

from collections.abc import Iterator, Sequence

from monitor.ingest.arrow_stream import Claims, refusing
from monitor.ingest.codec import format_of, surely_json
from monitor.ingest.json_document import RecordError

_FLOAT_BYTES = 4


def pieces(
    values: Sequence[bytes | None], features: int, max_bytes: int
) -> Iterator[tuple[int, int]]:
    """Ranges of records that together decode to at most so many bytes, or hold a single record."""
    start = taken = 0
    if not surely_json(values):
        for row, value in enumerate(values):
            size = decoded_bytes(value, features)
            if row > start and taken + size > max_bytes:
                yield start, row
                start, taken = row, 0
            taken += size
    yield start, len(values)


def decoded_bytes(value: bytes | None, features: int) -> int:
    """What a record takes once decoded, by what it says of itself; 0 where it will be refused."""
    if value is None:
        return 0
    if format_of(value) != "arrow":
        return len(value)
    claims = Claims()
    try:
        with refusing():
            claims.read(value)
    except RecordError:
        return 0
    return max(claims.decoded_bytes, claims.vectors * features * _FLOAT_BYTES)
