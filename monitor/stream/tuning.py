"""Where the threshold of the running daemon stands: it follows the budget, the traffic and drift.

tuning = Tuning(detector, metrics)
tuning.take(settings, manifest.calibration.false_alarm_rate)
tuning.observe(errors, anomalous, monotonic())  # of vectors that were judged lately
"""

from dataclasses import dataclass

import structlog

from monitor.batch import Matrix
from monitor.config import RecalibrationSettings, Settings
from monitor.detect.budget import (
    LARGEST_RATE,
    LOOSEST,
    SECONDS_A_DAY,
    DailyBudget,
    Traffic,
    shortage,
    smallest_rate,
)
from monitor.detect.detector import Detector
from monitor.detect.recalibration import Recalibration
from monitor.telemetry.metrics import Metrics, RecentShare

MOVE_SECONDS = 60.0
"""Traffic and drift move the threshold at most so often."""
PROMISED_ALERTS = 100
"""Memory of the realised rate: the vectors in which so many were promised; known to some 10 %."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Tuned:
    """What it goes on with after a restart.

    Attributes:
        rate: the false-alarm rate of the moment.
        traffic, realised, drift: as `export` of each gives them; no drift where none is followed.
    """

    rate: float
    traffic: tuple[float, float, float]
    realised: tuple[float, float]
    drift: tuple[float, float] | None


class Tuning:
    """The detector of the moment; it changes between micro-batches, in `take` and `observe`."""

    def __init__(self, detector: Detector, metrics: Metrics) -> None:
        self.detector = detector
        self._metrics = metrics
        self._traffic = Traffic()
        self._realised = RecentShare(PROMISED_ALERTS)
        self._budget: DailyBudget | None = None
        self._recalibration: Recalibration | None = None
        self._follows = RecalibrationSettings()
        self._own_rate = detector.false_alarm_rate
        self._moved_s = float("-inf")

    def take(self, settings: Settings, own_rate: float) -> None:
        """Judge by the budget of these settings or, where they have none, by the bundle's own."""
        least = smallest_rate(self.detector.calibration)
        wanted = settings.alerts_per_day
        most = min(LOOSEST * own_rate, LARGEST_RATE)
        self._budget = None if wanted is None else DailyBudget(wanted, least, most)
        if settings.recalibration != self._follows:
            self._follows = follows = settings.recalibration
            change = follows.max_change_per_day
            self._recalibration = Recalibration(change) if follows.enabled else None
        rate = self._own_rate = settings.false_alarm_rate or own_rate
        self._move(self._budget.rate(self._traffic, rate) if self._budget else rate)
        self._tell()
        log.info("budget", alerts_per_day=wanted, **self._facts())
        self._warn()

    def observe(self, errors: Matrix, anomalous: int, now_s: float) -> None:
        """Count (n,) errors and how many of them were past the threshold; n may be 0."""
        rate = self.detector.false_alarm_rate
        self._realised.observe(anomalous, len(errors) * rate)
        self._traffic.observe(len(errors), now_s)
        if self._recalibration:
            self._recalibration.observe(self.detector, errors, now_s)
        if now_s - self._moved_s >= MOVE_SECONDS:
            judged_by = self.detector
            self._move(self._budget.rate(self._traffic, rate) if self._budget else rate)
            if self.detector is not judged_by:
                self._moved_s = now_s
            if self.detector.false_alarm_rate != rate:
                log.info("threshold moved with the traffic", **self._facts())
                self._warn()
        self._tell()

    def export(self) -> Tuned:
        """What to keep of it."""
        drift = self._recalibration.export() if self._recalibration else None
        rate = self.detector.false_alarm_rate
        return Tuned(rate, self._traffic.export(), self._realised.export(), drift)

    def restore(self, kept: Tuned, now_s: float) -> None:
        """Go on with what was kept, as far as the settings still ask for it."""
        self._traffic.restore(kept.traffic, now_s)
        self._realised.restore(kept.realised)
        if self._recalibration and kept.drift:
            self._recalibration.restore(kept.drift)
        rate = self.detector.false_alarm_rate
        self._move(self._budget.rate(self._traffic, kept.rate) if self._budget else rate)
        self._moved_s = now_s
        self._tell()

    def begin_anew(self) -> None:
        """Forget all that was seen, and judge as a process does that has just begun."""
        self._traffic = Traffic()
        self._realised = RecentShare(PROMISED_ALERTS)
        if self._recalibration:
            self._recalibration.restore((0.0, 0.0))
        self._move(self._own_rate)
        self._moved_s = float("-inf")
        self._tell()

    def _move(self, rate: float) -> None:
        drift = self._recalibration.drift if self._recalibration else 1.0
        if (rate, drift) != (self.detector.false_alarm_rate, self.detector.drift):
            self.detector = self.detector.with_budget(rate, drift)

    def _facts(self) -> dict[str, float]:
        return {
            "false_alarm_rate": self.detector.false_alarm_rate,
            "threshold": self.detector.threshold,
            "vectors_per_second": self._traffic.vectors_per_second,
        }

    def _warn(self) -> None:
        if reason := shortage(self.detector.calibration, self.detector.false_alarm_rate):
            log.warning("threshold is extrapolated", reason=reason)

    def _tell(self) -> None:
        metrics, detector = self._metrics, self.detector
        traffic, rate = self._traffic.vectors_per_second, detector.false_alarm_rate
        metrics.threshold.set(detector.threshold)
        metrics.false_alarm_rate_target.set(rate)
        metrics.false_alarm_rate_realised.set(self._realised.share * rate)
        metrics.traffic.set(traffic)
        metrics.alerts_per_day_target.set(
            self._budget.alerts_per_day if self._budget else rate * traffic * SECONDS_A_DAY
        )
        metrics.drift.set(detector.drift)
