"""How much time has passed for a stream, by what its events claim and at least by the wall.

    clock = StreamClock().advance(median_event_time_ms, wall_ms)
    clock = clock.wait(wall_ms)      # when nothing comes
    clock.elapsed_ms

Events lie, come late, repeat one time for ever, and come from several partitions at once, so that
no single time may drive what is timed by it. Time goes on as a monotonic wall clock does, and what
events claim counts only where it lies ahead of that: a replayed capture has its own time, ground
that is covered counts once, and nothing makes time stop. A large step ahead counts when the next
micro-batch confirms it. Times far back (an older capture) begin a new reckoning once there has been
nothing else for so long that every incident could have closed: turning back again and again gains
little.
"""

from dataclasses import dataclass, replace

LARGE_STEP_MS = 300_000
"""A step that needs confirming: as long as an incident stays open in quiet."""


@dataclass(frozen=True, slots=True)
class StreamClock:
    """Monotone time of a stream.

    Attributes:
        elapsed_ms: what has passed since the first micro-batch.
        time_ms: the event time that it has come to, milliseconds since 1970; None before its start.
        wall_ms: the monotonic wall clock at that.
        believed_wall_ms: the same when a micro-batch last was not far back and not a leap.
        unconfirmed_ms: a leap ahead that the last micro-batch has claimed.
    """

    elapsed_ms: int = 0
    time_ms: int | None = None
    wall_ms: int = 0
    believed_wall_ms: int = 0
    unconfirmed_ms: int | None = None

    def at_wall(self, wall_ms: int) -> "StreamClock":
        """The clock as it stands, where the monotonic wall clock shows this, as in another process.

        What has passed there meanwhile does not count.
        """
        believed_ms = wall_ms - (self.wall_ms - self.believed_wall_ms)
        return replace(self, wall_ms=wall_ms, believed_wall_ms=believed_ms)

    def wait(self, wall_ms: int) -> "StreamClock":
        """The clock at this monotonic wall time if nothing has come."""
        if self.time_ms is None:
            return self
        passed = max(wall_ms - self.wall_ms, 0)
        return replace(
            self,
            elapsed_ms=self.elapsed_ms + passed,
            time_ms=self.time_ms + passed,
            wall_ms=self.wall_ms + passed,
        )

    def advance(self, time_ms: int, wall_ms: int) -> "StreamClock":
        """The clock after a micro-batch whose typical event time is this."""
        now = self.wait(wall_ms)
        if now.time_ms is None:
            return StreamClock(0, time_ms, wall_ms, wall_ms)
        ahead = time_ms - now.time_ms
        if ahead > LARGE_STEP_MS and not self._confirmed_by(time_ms):
            return replace(now, unconfirmed_ms=time_ms)
        if ahead < -LARGE_STEP_MS:
            if now.wall_ms - self.believed_wall_ms < LARGE_STEP_MS:
                return replace(now, unconfirmed_ms=None)
            return StreamClock(now.elapsed_ms, time_ms, now.wall_ms, now.wall_ms)
        gain = max(ahead, 0)
        return StreamClock(now.elapsed_ms + gain, now.time_ms + gain, now.wall_ms, now.wall_ms)

    def _confirmed_by(self, time_ms: int) -> bool:
        claimed = self.unconfirmed_ms
        return claimed is not None and time_ms >= claimed - LARGE_STEP_MS
