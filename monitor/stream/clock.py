"""The only place that reads wall time; durations come from `time.monotonic`."""

from time import time_ns


def now_ms() -> int:
    """Milliseconds since 1970, UTC."""
    return time_ns() // 1_000_000
