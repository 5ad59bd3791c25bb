"""What is told while the state of new partitions is loaded, and what ends it.

    loading = Loading(health)
    with_state = loading.run(lambda: state.load(partitions), pause)

Their vectors wait meanwhile, so that it is part of readiness; `Membership.assigned` says that it is
to begin, before the group is said to be in order.
"""

from collections.abc import Callable, Collection

import structlog

from monitor.batch import Partition
from monitor.stream.client import BrokerAwayError
from monitor.stream.delivery import AbandonedError
from monitor.stream.membership import names
from monitor.telemetry.health import Health

RETRY_SECONDS = 1.0

log = structlog.get_logger()


class NotLoadedError(AbandonedError):
    """It is to stop before the state was loaded; nothing was begun."""


class Loading:
    """Tells health and, once a load, the log why it is not done."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._stopping = self._told = False
        health.ok("state")  # of no partitions

    def stop_trying(self) -> None:
        """From now on a load ends at once."""
        self._stopping = True

    def look(self, held: Collection[Partition] = ()) -> None:
        """Called again and again while it waits.

        Args:
            held: partitions of the state topic on which the transaction of another is open.

        Raises:
            NotLoadedError: it is to stop.
        """
        if self._stopping:
            raise NotLoadedError
        if held:
            self._waits(f"a transaction is open on {', '.join(names(held))}")

    def run(self, load: Callable[[], None], pause: Callable[[float], None]) -> None:
        """Load, for as often as it takes.

        Raises:
            NotLoadedError: it is to stop.
            MonitorError: as `load`.
        """
        self._told = False
        self._health.problem("state", "it is being loaded")
        while True:
            self.look()
            try:
                load()
                return
            except BrokerAwayError as reason:
                self._waits(str(reason))
                pause(RETRY_SECONDS)

    def done(self) -> None:
        """All of the state is here."""
        self._health.ok("state")

    def _waits(self, reason: str) -> None:
        self._health.problem("state", reason)
        if not self._told:
            log.warning("state cannot be loaded yet, waiting", reason=reason)
            self._told = True
