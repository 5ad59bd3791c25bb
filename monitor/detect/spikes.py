"""When the level itself jumps: of the whole stream, or of one entity, against its own recent past.

    spikes = Spikes(SpikeOptions())
    rises = spikes.step(errors, anomalous, origins, clock)

In windows of event time, two things are watched for each entity and for the stream: the share of
anomalous vectors and the mean reconstruction error. Each has a one-sided CUSUM (Page, Biometrika
1954) of increments x, S = max(0, S + x), and alarms at S >= h.

- Ratio. With k anomalous vectors where mu were expected, x = (k log r - mu (r - 1)) / phi: the
  log-likelihood ratio of a Poisson count that is r = 3 times its mean (Lucas, Technometrics 1985),
  divided by the dispersion phi >= 1 of past counts, since anomalies come in bursts. The expected
  share counts one anomaly more than were seen, so that "none so far" is not "never".
- Level. x = min(z, 6) - 2, where z is the window's mean error in standard deviations between
  windows, which hold whatever makes windows differ more than their vectors would.

Where the mean of exp(x) is at most 1 in normal windows, the mean number of windows to a false alarm
is at least exp(h) (Lorden, Ann. Math. Stat. 1971). It is: exactly 1 for Poisson counts, about 1 for
bursts of one size, 0.22 for normal z and still 0.4 for exponential z, given that windows are
independent and the baseline is right. So h is the logarithm of the stated interval in windows, with
a share for each of the two tests and, among entities, for each of them. No x exceeds h / 3: one
burst, however large, is no new level, and a large rise is told after three windows. Baselines learn
of a window no more than gives that x (they are winsorised), or a burst would hide a later rise.

Baselines forget exponentially, over an hour's windows by default. They learn nothing of a rise
while it may become an alarm, and stand still in one. Six windows as usual end an alarm; one that
lasts `baseline_windows` is the new normal, and learning starts anew. A rise that takes longer than
that to show is drift and no jump: its CUSUM starts again from 0, as all do after so long a silence.
Entities are held in a table of fixed size; the one unseen for longest makes room. That
table (`monitor.detect.entity_table`) also says what has changed, and takes it in again.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from monitor.batch import Origins
from monitor.detect.entity_table import ROW, STREAM, EntityTable, Home, Slots
from monitor.detect.stream_clock import StreamClock

Measure = Literal["anomaly ratio", "mean error"]
MEASURES: tuple[Measure, Measure] = ("anomaly ratio", "mean error")
RATIO_SOUGHT = 3.0
MAX_DEVIATIONS, REFERENCE_DEVIATIONS = 6.0, 2.0
FASTEST_ALARM_WINDOWS, SLOWEST_END_WINDOWS = 3, 6

Floats = NDArray[np.float64]

WINDOWS, VECTORS, HITS, DEVIATIONS, EXPECTED, MEANS, SQUARES = range(7)
"""One each, vectors, anomalous ones, squared deviations of their number from the expected one, that
number, mean errors, and their squares."""


@dataclass(frozen=True, slots=True)
class SpikeOptions:
    """Attributes:
    false_alarm_interval_days: mean event time between false alarms; once for the stream, and
        once for all entities together.
    warm_up_windows: before an entity is judged.
    baseline_windows: after so many a window weighs 1/e of the newest.
    """

    false_alarm_interval_days: float = 30
    window_seconds: float = 10
    max_entities: int = 50_000
    warm_up_windows: int = 30
    baseline_windows: int = 360


@dataclass(frozen=True, slots=True)
class Spike:
    """A level that rose.

    Attributes:
        observed, usual: the measure since the rise, and before.
        since_ms: event time at which it began to rise, milliseconds since 1970.
    """

    measure: Measure
    observed: float
    usual: float
    since_ms: int


@dataclass(frozen=True, slots=True)
class Rise:
    """A window at whose end the level is up.

    Attributes:
        entity: its position in the names of the origins; -1 is the stream as a whole.
        windows: for how many windows it has been.
    """

    entity: int
    spike: Spike
    windows: int


class Spikes:
    """Levels and baselines of the stream and of the entities seen last."""

    def __init__(self, options: SpikeOptions) -> None:
        self.entities = EntityTable(options.max_entities)
        self._options = options
        self.window_ms = round(options.window_seconds * 1000)
        interval = options.false_alarm_interval_days * 86_400 / options.window_seconds
        self._stream_height = float(np.log(len(MEASURES) * interval))

    def __len__(self) -> int:
        """Entities that are held."""
        return len(self.entities)

    def anew(self) -> "Spikes":
        """Others that have seen nothing yet."""
        return Spikes(self._options)

    @property
    def level(self) -> float:
        """How near the stream is to an alarm: 0 as usual, 1 in alarm."""
        return float(self._rows["cusum"][STREAM].max() / self._stream_height)

    @property
    def _rows(self) -> Any:
        return self.entities.rows

    def step(
        self,
        errors: NDArray[np.float32],
        anomalous: NDArray[np.bool_],
        origins: Origins | None,
        clock: StreamClock,
        home_of: Callable[[int], Home] = lambda _: None,
    ) -> list[Rise]:
        """Add (n,) vectors; the rises in the windows that end by it.

        Args:
            anomalous: (n,) whether each exceeds the threshold.
            origins: whose they are; None to watch the stream alone.
            home_of: where the n-th vector is at home, and hence an entity that it shows first.
        """
        if not len(errors):
            return []
        everything = np.array([[len(errors), anomalous.sum(), errors.sum(dtype=np.float64)]])
        rises = self._fill(np.array([STREAM]), everything, clock)
        rises = [replace(rise, entity=-1) for rise in rises]
        if origins and len(origins.names):
            names = origins.names[: self._options.max_entities]
            counts = _counts(errors, anomalous, origins.entities, len(origins.names))[: len(names)]
            first = _first(origins.entities, len(origins.names))
            slots = self.entities.slots_of(names, lambda n: home_of(int(first[n])))
            rises += self._fill(slots, counts, clock)
        return rises

    def _fill(self, slots: Slots, counts: Floats, clock: StreamClock) -> list[Rise]:
        """Add (m, 3) counts to the windows of m slots, and judge those that this ends."""
        window = clock.elapsed_ms // self.window_ms
        another = self._rows["window"][slots] != window
        ended = another & (self._rows["counts"][slots, 0] > 0)
        rises = self._judge(slots, np.flatnonzero(ended), clock) if ended.any() else []
        self._rows["counts"][slots] += counts
        self._rows["window"][slots] = window
        self.entities.changed(slots, another)
        return rises

    def _judge(self, slots: Slots, ended: Slots, clock: StreamClock) -> list[Rise]:
        """End the windows of some of the slots: their increments, alarms and baselines."""
        entities, slots = len(self) if slots[0] != STREAM else 1, slots[ended]
        rows = self._rows[slots]
        self._expire(rows, clock)
        height = self._stream_height + float(np.log(entities))
        largest = height / FASTEST_ALARM_WINDOWS * (1 + 1e-9)  # so that three of them reach it
        increments = np.minimum(_increments(rows), largest)
        in_alarm = (rows["alarmed"] > 0)[:, None]
        down = in_alarm & (increments <= 0)
        increments[down] = np.minimum(increments, -height / SLOWEST_END_WINDOWS)[down]
        warm = rows["past"][:, WINDOWS] >= _faded(self._options.warm_up_windows, self._memory)
        rows["cusum"] = np.clip(rows["cusum"] + increments * warm[:, None], 0, height)
        self._run(rows, clock)
        up = (rows["cusum"] >= height) | (in_alarm & (rows["cusum"] > 0))
        alarm = up.any(axis=1)
        rows["alarmed"] = np.where(alarm, rows["alarmed"] + 1, 0)
        rises = [
            Rise(int(ended[n]), _spike(rows[n], up[n]), int(rows["alarmed"][n]))
            for n in np.flatnonzero(alarm)
        ]
        _winsorise(rows, largest, warm)
        _learn(rows, alarm, self._memory)
        rows["counts"], rows["before"] = 0, rows["window"]
        rows[rows["alarmed"] >= self._options.baseline_windows] = np.zeros((), ROW)
        self._rows[slots] = rows
        return rises

    @property
    def _memory(self) -> float:
        return float(np.exp(-1 / self._options.baseline_windows))

    def _expire(self, rows: Any, clock: StreamClock) -> None:
        """Begin anew what has risen for too long without an alarm, and all after a long silence."""
        longest = self._options.baseline_windows
        silent = rows["window"] - rows["before"] > longest
        age_ms = self._began_ms(rows, clock)[:, None] - rows["since_ms"]
        slow = (age_ms > longest * self.window_ms) & (rows["alarmed"] == 0)[:, None]
        rows["cusum"] = np.where(slow | silent[:, None], 0, rows["cusum"])
        rows["run"] = np.where((rows["cusum"] > 0)[:, :, None], rows["run"], 0)
        rows["alarmed"] = np.where(silent, 0, rows["alarmed"])

    def _began_ms(self, rows: Any, clock: StreamClock) -> Slots:
        """When the ended windows of m rows began, milliseconds since 1970."""
        began_ms: Slots = (clock.time_ms or 0) - clock.elapsed_ms + rows["window"] * self.window_ms
        return began_ms

    def _run(self, rows: Any, clock: StreamClock) -> None:
        """Sum up what was observed since each CUSUM left 0, which is where the change began."""
        rising, began_ms = rows["cusum"] > 0, self._began_ms(rows, clock)
        begins = rising & (rows["run"][:, :, 1] == 0)
        rows["since_ms"] = np.where(begins, began_ms[:, None], rows["since_ms"])
        vectors, hits, errors = rows["counts"].T
        observed = np.stack(
            (np.stack((hits, vectors), axis=1), np.stack((errors, vectors), axis=1)), axis=1
        )
        rows["run"] = np.where(rising[:, :, None], rows["run"] + observed, 0)


def _first(codes: NDArray[np.int32], names: int) -> Slots:
    """Of each of the entities the first of its vectors; (names,)."""
    first = np.zeros(names + 1, np.int64)  # the last is that of -1
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    return first[:-1]


def _counts(
    errors: NDArray[np.float32], anomalous: NDArray[np.bool_], codes: NDArray[np.int32], names: int
) -> Floats:
    """Of each of the entities: vectors, anomalous ones, sum of errors; (names, 3)."""
    known = codes >= 0
    codes = codes[known]
    weights = (None, anomalous[known], errors[known])
    return np.stack([np.bincount(codes, w, minlength=names) for w in weights], axis=1, dtype=float)


def _increments(rows: Any) -> Floats:
    """What the ended windows of m rows add to their two CUSUMs; (m, 2)."""
    vectors, hits, errors = rows["counts"].T
    expected, dispersion = vectors * _usual_ratio(rows), _dispersion(rows)
    ratio = (hits * np.log(RATIO_SOUGHT) - expected * (RATIO_SOUGHT - 1)) / dispersion
    mean, deviation = _usual_mean(rows)
    z = (errors / vectors - mean) / deviation
    return np.stack((ratio, np.minimum(z, MAX_DEVIATIONS) - REFERENCE_DEVIATIONS), axis=1)


def _winsorise(rows: Any, largest: float, warm: NDArray[np.bool_]) -> None:
    """Cut the counts of m rows to those whose increments are the largest there are.

    The mean error only of (m,) rows that are warm: without a past there is no deviation to cut at.
    """
    vectors, hits, errors = rows["counts"].T
    expected, dispersion = vectors * _usual_ratio(rows), _dispersion(rows)
    most_hits = (largest * dispersion + expected * (RATIO_SOUGHT - 1)) / np.log(RATIO_SOUGHT)
    mean, deviation = _usual_mean(rows)
    largest_mean = mean + min(MAX_DEVIATIONS, largest + REFERENCE_DEVIATIONS) * deviation
    rows["counts"][:, 1] = np.minimum(hits, most_hits)
    rows["counts"][:, 2] = np.where(warm, np.minimum(errors, vectors * largest_mean), errors)


def _dispersion(rows: Any) -> Floats:
    past = rows["past"]
    dispersion: Floats = np.maximum((past[:, DEVIATIONS] + 1) / (past[:, EXPECTED] + 1), 1)
    return dispersion


def _usual_ratio(rows: Any) -> Floats:
    past = rows["past"]
    ratio: Floats = np.minimum((past[:, HITS] + 1) / (past[:, VECTORS] + 1), 1)
    return ratio


def _usual_mean(rows: Any) -> tuple[Floats, Floats]:
    """Mean error of a window, and the standard deviation between windows."""
    past = rows["past"]
    windows = np.maximum(past[:, WINDOWS], 1)
    mean, square = past[:, MEANS] / windows, past[:, SQUARES] / windows
    tiny = 1e-6 + 1e-3 * np.abs(mean)
    return mean, np.maximum(np.sqrt(np.maximum(square - mean**2, 0)), tiny)


def _learn(rows: Any, alarm: NDArray[np.bool_], memory: float) -> None:
    """Add the ended windows to the baselines.

    While a CUSUM is up they are held back: they join the baseline when it has come down to 0, and
    are dropped where it ends in an alarm, so that a rise does not hide itself.
    """
    vectors, hits, errors = rows["counts"].T
    past, mean = rows["past"], errors / vectors
    # Pooled with the window itself, so that the first ones do not look dispersed.
    expected = vectors * (past[:, HITS] + hits) / (past[:, VECTORS] + vectors)
    ones, deviations = np.ones(len(rows)), (hits - expected) ** 2
    new = np.stack((ones, vectors, hits, deviations, expected, mean, mean**2), axis=1)
    held = np.where(alarm[:, None], 0, rows["held"] * memory + new)
    calm = (rows["cusum"] == 0).all(axis=1)[:, None]
    rows["past"] = np.where(alarm[:, None], past, past * memory) + np.where(calm, held, 0)
    rows["held"] = np.where(calm, 0, held)


def _faded(windows: int, memory: float) -> float:
    """What the fading count of windows has come to after so many."""
    return (1 - memory**windows) / (1 - memory)


def _spike(row: Any, up: NDArray[np.bool_]) -> Spike:
    which = int(np.argmax(up))
    total, vectors = row["run"][which]
    rows = np.array([row], ROW)
    usual = _usual_ratio(rows)[0] if which == 0 else _usual_mean(rows)[0][0]
    return Spike(MEASURES[which], float(total / vectors), float(usual), int(row["since_ms"][which]))
