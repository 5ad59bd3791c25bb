"""Why a record is no vector: the closed set of words used by dead letters and their metric."""

from enum import StrEnum


class Reason(StrEnum):
    """The `reason` of a dead letter, and the label of `anomaly_monitor_dead_letters_total`."""

    TOMBSTONE = "tombstone"
    """The record has no value at all (null), as in a compacted topic."""
    EMPTY = "empty"
    """The value has zero bytes, or only white space."""
    TOO_LARGE = "too_large"
    """The value is larger than `input.max_record_bytes`, holds more vectors than
    `input.max_record_vectors`, or would take more than `input.max_decoded_bytes` once decoded; or
    the batch it came in takes more than 64 MiB decompressed, and was not read."""
    NOT_UTF8 = "not_utf8"
    """The value is not UTF-8 text, so it cannot be JSON."""
    MALFORMED_JSON = "malformed_json"
    """The value is not one complete JSON document."""
    DUPLICATE_KEY = "duplicate_key"
    """An object has the same key twice, or an Arrow schema a column, so what it says depends on who
    reads it."""
    MALFORMED_ARROW = "malformed_arrow"
    """The value is not one whole and sound Arrow IPC stream."""
    MALFORMED_FLOAT32 = "malformed_float32"
    """The value is not a header and as many float32 rows as it names."""
    ANOTHER_SPEC = "another_spec"
    """The header of float32 rows names another spec than the bundle's."""
    WRONG_SHAPE = "wrong_shape"
    """The JSON is neither an object nor an array."""
    WRONG_LENGTH = "wrong_length"
    """An array has more or fewer elements than the spec has features."""
    MISSING_FEATURE = "missing_feature"
    """A feature without a default is absent or null."""
    WRONG_TYPE = "wrong_type"
    """A feature has a value of another type: text where a number belongs, an object, ..."""
    NOT_FINITE = "not_finite"
    """A number is NaN or infinite."""
    OUT_OF_RANGE = "out_of_range"
    """A number is beyond what float32 holds (3.4e38)."""
    DEFECT = "defect"
    """The monitor itself failed on this record: the fault is the monitor's, not the record's."""
