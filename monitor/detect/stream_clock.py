"""How much event time has passed, from what events claim.

    clock = StreamClock().advance(median_event_time_ms)
    clock.elapsed_ms

Events lie, come late and come from several partitions at once, so that no single time may drive
what is timed by it. Only the steps count: forward, small or beyond everything seen so far, and a
large one only when a second micro-batch confirms it. Times far back (an old capture replayed) start
a new reckoning and take nothing back.
"""

from dataclasses import dataclass, replace

LARGE_STEP_MS = 300_000
"""A step that needs confirming: as long as an incident stays open in quiet."""


@dataclass(frozen=True, slots=True)
class StreamClock:
    """Monotone event time.

    Attributes:
        elapsed_ms: event time that has passed since the first micro-batch.
        time_ms: where the stream is now, milliseconds since 1970; None before its start.
        latest_ms: the latest that it has been.
        unconfirmed_ms: a leap ahead that one micro-batch has claimed.
    """

    elapsed_ms: int = 0
    time_ms: int | None = None
    latest_ms: int = 0
    unconfirmed_ms: int | None = None

    def advance(self, time_ms: int) -> "StreamClock":
        """The clock after a micro-batch whose typical event time is this."""
        if self.time_ms is None:
            return StreamClock(0, time_ms, time_ms)
        step = time_ms - self.time_ms
        if -LARGE_STEP_MS <= step <= 0:
            return replace(self, unconfirmed_ms=None)
        gain = step if 0 < step <= LARGE_STEP_MS else max(time_ms - self.latest_ms, 0)
        if gain > LARGE_STEP_MS and not self._confirmed_by(time_ms):
            return replace(self, unconfirmed_ms=time_ms)
        return StreamClock(self.elapsed_ms + gain, time_ms, max(self.latest_ms, time_ms))

    def _confirmed_by(self, time_ms: int) -> bool:
        claimed = self.unconfirmed_ms
        return claimed is not None and abs(time_ms - claimed) <= LARGE_STEP_MS
