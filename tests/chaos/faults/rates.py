"""What goes wrong by rate and time alone: a long life, and floods."""

from collections import Counter
from collections.abc import Mapping, Sequence
from time import monotonic

import numpy as np
import orjson
from scipy.stats import linregress, t

from tests.chaos.books import read
from tests.chaos.faults.fault import Fault
from tests.chaos.scene import Scene, Setup

MINUTE_SECONDS = 60.0
PROBE_RECORDS = 200_000
WARM_SHARE = 0.2
"""Of a life, that memory may take to reach its level."""
SLOPE_WINDOWS = 60
GROWTH_BYTES = 4_000_000
"""A slope must also add up to so much to be one."""
LATENCY_GROWTH = 1.5
FLOOD_SECONDS = 60.0
FLOOD_GROWTH_BYTES = 40_000_000
"""What the bounded tables of entities take once they are full."""
SLOW_ANOMALIES = 20
SLOW_SOURCE = "192.0.2.1"


class Soak(Fault):
    """A long life at half of the highest rate; it strikes once a minute."""

    name, times = "soak", 30
    setup = Setup(rate=1000, odd_ratio=0.001, max_vectors=4096)

    def strike(self, scene: Scene) -> None:
        if not hasattr(self, "latencies_s"):
            self.latencies_s: list[float] = []
            self.highest = _highest_rate(scene)
            scene.load.rate = self.highest / 2
            scene.live(10.0)
            scene.memory.clear()
        before = _latency(scene)
        scene.live(MINUTE_SECONDS)
        self.latencies_s.append(np.subtract(_latency(scene), before))

    def conclude(self, scene: Scene) -> Mapping[str, float]:
        slope, low, high = slope_with_bounds([(at, size) for at, _, size in scene.memory])
        seconds = scene.memory[-1][0] - scene.memory[0][0]
        if low > 0 and slope * seconds > GROWTH_BYTES:
            scene.problems.append(f"memory grows by {slope * 3600 / 1e6:.1f} MB an hour")
        means_ms = [1000 * total / max(count, 1) for total, count in self.latencies_s]
        third = max(len(means_ms) // 3, 1)
        first, last = np.mean(means_ms[:third]), np.mean(means_ms[-third:])
        if last > LATENCY_GROWTH * first:
            scene.problems.append(f"latency grew from {first:.0f} to {last:.0f} ms")
        errors = [e for e in scene.members[0].events if e["level"] in ("error", "critical")]
        if errors:
            scene.problems.append(f"{len(errors)} errors are logged, first {errors[0]}")
        return {
            "vectors/s": scene.load.rate,
            "MB/h": slope * 3600 / 1e6,
            "MB/h at least": low * 3600 / 1e6,
            "MB/h at most": high * 3600 / 1e6,
            "ms first": float(first),
            "ms last": float(last),
        }


class Flood(Fault):
    """One source at a hundred times the usual rate, while another is odd now and then."""

    name, times = "flood", 1
    setup = Setup(rate=20_000, entities=1, odd_ratio=0.01, max_vectors=4096)
    planted = 0

    def strike(self, scene: Scene) -> None:
        for _ in range(SLOW_ANOMALIES):
            scene.live(FLOOD_SECONDS / SLOW_ANOMALIES)
            scene.load.say("odd", SLOW_SOURCE)
        self.planted += SLOW_ANOMALIES

    def conclude(self, scene: Scene) -> Mapping[str, float]:
        delays_s = [0.0]
        counted: Counter[str] = Counter()
        for message in read(scene.ledgers.servers, f"{scene.topic}-alerts"):
            alert = orjson.loads(message.value())
            incident = alert["unmapped"]["incident"]
            if incident["name"] != SLOW_SOURCE:
                continue
            uid = alert["finding_info"]["uid"]
            counted[uid] = max(counted[uid], incident["vectors"])
            if alert["activity_name"] == "Create":
                logged = alert["metadata"]["logged_time"]
                delays_s.append((message.timestamp()[1] - logged) / 1000)
        told, grown = sum(counted.values()), grown_bytes(scene)
        if told != self.planted:
            scene.problems.append(f"{told} of {self.planted} slow anomalies were told of")
        if grown > FLOOD_GROWTH_BYTES:
            scene.problems.append(f"memory grew by {grown / 1e6:.0f} MB in the flood")
        return {
            "slow anomalies told": told,
            "slowest alert s": max(delays_s),
            "MB grown": grown / 1e6,
        }


class FloodGrouped(Flood):
    """The same, with incidents."""

    name = "flood-grouped"
    setup = Setup(rate=20_000, entities=1, odd_ratio=0.01, max_vectors=4096, grouped=True)


class FloodInvented(Flood):
    """A source that nobody has seen for each vector of the flood."""

    name = "flood-invented"
    setup = Setup(rate=20_000, entities=None, odd_ratio=0, max_vectors=4096, grouped=True)


def grown_bytes(scene: Scene) -> float:
    """From the second quarter of what was seen to the last."""
    sizes = [size for *_, size in scene.memory if size]
    quarter = len(sizes) // 4
    return float(np.median(sizes[-quarter:]) - np.median(sizes[quarter : 2 * quarter]))


def slope_with_bounds(samples: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Growth a second and its 95 % interval, over what comes after the warm-up.

    Neighbouring samples say nearly the same: the medians of SLOPE_WINDOWS windows are taken, and
    the interval is widened for what correlation is left between them (first order).
    """
    at, size = np.array(samples, dtype=float).T
    late = at >= at[0] + WARM_SHARE * (at[-1] - at[0])
    windows = np.array_split(np.column_stack((at[late], size[late])), SLOPE_WINDOWS)
    x, y = np.array([np.median(w, axis=0) for w in windows if len(w)]).T
    fit = linregress(x, y)
    rest = y - fit.intercept - fit.slope * x
    spread = float(rest @ rest)
    along = float(np.clip(rest[1:] @ rest[:-1] / spread, 0, 0.95)) if spread else 0.0
    free = max((len(x) - 2) * (1 - along) / (1 + along), 1.0)
    reach = t.ppf(0.975, free) * fit.stderr * np.sqrt((len(x) - 2) / free)
    return fit.slope, fit.slope - reach, fit.slope + reach


def _highest_rate(scene: Scene) -> float:
    """Vectors a second that it works off where many wait."""
    scene.kill(scene.members[0])
    scene.load.rate, before = 1e6, scene.load.produced
    while scene.load.produced < before + PROBE_RECORDS:
        scene.look()
    scene.load.rate = 0
    scene.start()
    scene.await_progress(monotonic(), counts=False)
    first, started = sum(scene.committed.values()), monotonic()
    scene.until(lambda: scene.committed == scene.offsets.ends(), MINUTE_SECONDS)
    return (sum(scene.committed.values()) - first) / (monotonic() - started)


def _latency(scene: Scene) -> tuple[float, float]:
    """Sum, in seconds, and count of the detection latencies so far."""
    name = "anomaly_monitor_detection_latency_seconds"
    [member] = scene.members
    return member.metric(f"{name}_sum"), member.metric(f"{name}_count")


ALL = (Soak, Flood, FloodGrouped, FloodInvented)
