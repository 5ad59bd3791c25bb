"""Whatever times events and records claim, alerts have times that a clock may have shown."""

from dataclasses import replace
from functools import cache
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.batch import MicroBatch
from monitor.config import IncidentSettings, SpikeSettings
from monitor.contracts.detection import CLOCK_SKEW_MS, EARLIEST_EVENT_MS
from monitor.detect.detector import Detector
from monitor.detect.stream_clock import LARGE_STEP_MS
from tests.support.detectors import HASTY, fit_small
from tests.unit.test_pipeline import NORMAL, NOW_MS, batch_of, findings, odd, pipeline_of, walk

YEAR_MS = 31_536_000_000
claims = st.one_of(
    st.none(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(NOW_MS / 1000 - 10_000, NOW_MS / 1000 + 10_000),
    st.sampled_from(["", "now", "0001-01-01", "9999-12-31T23:59:59+14:00", "1e308", "nan", "-1"]),
    st.lists(st.booleans(), max_size=1),
)
records = st.sampled_from([-1, 0, NOW_MS, NOW_MS - 2 * YEAR_MS, NOW_MS + YEAR_MS, 2**63 - 1])
micro_batches = st.lists(st.tuples(st.sampled_from("abc"), claims, records), min_size=1, max_size=8)


@cache
def detector() -> Detector:
    return fit_small(HASTY).detector


@given(st.lists(micro_batches, min_size=1, max_size=6))
@settings(max_examples=20, deadline=None)
def test_wherever_clocks_jump_each_vector_is_told_of_at_a_plausible_time(
    happens: list[Any],
) -> None:
    scorer = detector().with_budget(0.01)
    scorer.threshold = -1.0  # all of it is anomalous
    second = [0.0]
    pipeline = pipeline_of(
        scorer, IncidentSettings(), spikes=SpikeSettings(), clock=lambda: second[0]
    )
    told, vectors = {}, 0
    for seen in happens:
        batch = batch_of(
            *(odd(name, f"10.0.0.{name}", **{**NORMAL, "ts": ts}) for name, ts, _ in seen)
        )
        stamped = [
            replace(record, timestamp=time_ms, offset=vectors + n)  # type: ignore[type-var]
            for n, (record, (_, _, time_ms)) in enumerate(zip(batch.records, seen, strict=True))
        ]
        vectors += len(stamped)
        for alert in findings(walk(pipeline, MicroBatch(stamped, batch.next_offsets))):
            told[alert.finding_info.uid] = alert
        second[0] += 1
    for _ in range(2):
        second[0] += 1000
        for alert in findings(pipeline.tick()):
            assert alert.activity_name == "Close"
            told[alert.finding_info.uid] = alert
    assert sum(a.unmapped.incident.vectors for a in told.values()) == vectors
    assert {alert.activity_name for alert in told.values()} == {"Close"}
    for alert in told.values():
        assert EARLIEST_EVENT_MS - LARGE_STEP_MS <= alert.start_time <= alert.end_time
        assert alert.end_time <= NOW_MS + CLOCK_SKEW_MS + LARGE_STEP_MS
