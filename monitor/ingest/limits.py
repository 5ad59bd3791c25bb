"""What one record may be, and become: decided before memory is spent on it."""

from dataclasses import dataclass

from monitor.ingest.json_document import RecordError, without_value
from monitor.reasons import Reason

_FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one record.

    Attributes:
        max_record_bytes: of its value; larger ones are refused unread.
        max_record_vectors: in a record that holds many.
        max_decoded_bytes: that it takes decompressed, and that its vectors take.
    """

    max_record_bytes: int = 1_048_576
    max_record_vectors: int = 65_536
    max_decoded_bytes: int = 67_108_864

    def check_value(self, value: bytes | None) -> bytes:
        """A value that may be read.

        Raises:
            RecordError: it is too large, or there is none.
        """
        if not value:
            raise without_value(value)
        if len(value) > self.max_record_bytes:
            error = f"{len(value)} bytes, more than the {self.max_record_bytes} allowed"
            raise RecordError(Reason.TOO_LARGE, error)
        return value

    def check_claims(self, vectors: int, features: int, decoded_bytes: int = 0) -> None:
        """Let a record pass by what it says it holds.

        Raises:
            RecordError: it is more than is allowed.
        """
        if vectors > self.max_record_vectors:
            error = f"{vectors} vectors, more than the {self.max_record_vectors} allowed"
            raise RecordError(Reason.TOO_LARGE, error)
        size = max(decoded_bytes, vectors * features * _FLOAT_BYTES)
        if size > self.max_decoded_bytes:
            error = f"{size} bytes once decoded, more than the {self.max_decoded_bytes} allowed"
            raise RecordError(Reason.TOO_LARGE, error)

    def counted(self, vectors: int) -> int:
        """How many vectors a refused record counts for, by its claim: no lie spoils the count."""
        return min(max(vectors, 1), self.max_record_vectors)
