"""Whether the broker is there: said once when it goes and once when it is back."""

import structlog

from monitor.telemetry.health import Health
from monitor.telemetry.metrics import Metrics

log = structlog.get_logger()


class BrokerLink:
    """Tells log, metrics and health, each only of changes."""

    def __init__(self, address: str, metrics: Metrics, health: Health) -> None:
        self._address, self._metrics, self._health = address, metrics, health
        self._up: bool | None = None

    def up(self) -> None:
        """The broker answers."""
        if self._up is not True:
            log.info(
                "broker is back" if self._up is False else "broker found", broker=self._address
            )
            self._tell(None)

    def down(self, reason: str) -> None:
        """The broker does not answer; whoever notices keeps trying."""
        if self._up is not False:
            log.warning("broker is away, trying on", broker=self._address, reason=reason)
            self._tell(f"{self._address}: {reason}")

    def _tell(self, problem: str | None) -> None:
        self._up = problem is None
        self._metrics.broker_connected.set(self._up)
        self._health.problem("broker", problem)
