"""State outlives the process: what is kept is what was there, and nothing else is believed."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from monitor.batch import Partition
from monitor.config import IncidentSettings, SpikeSettings
from monitor.detect.incidents import Activity, Change
from monitor.errors import StreamError
from monitor.stream import state
from monitor.stream.state_layout import FORMAT, MAGIC, decode
from tests.support.lives import NOW_MS, START_MS, KeptTopic, Life, Seen, scored_of

CREATE, UPDATE, CLOSE = Activity
FIRST, SECOND = Partition("vectors", 0), Partition("vectors", 1)


def told(changes: Sequence[Change[Any]]) -> list[tuple[Activity, str, int]]:
    return [(c.activity, c.incident.subject.name, c.incident.seen.vectors) for c in changes]


def test_an_incident_goes_on_after_a_crash_as_if_nothing_had_happened() -> None:
    topic = KeptTopic()
    before = Life(topic)
    [created] = before.step([Seen("10.0.0.5")] * 3, START_MS)
    assert before.step([Seen("10.0.0.5")], START_MS + 30_000) == []
    after = Life(topic)
    assert after.triage.open_incidents == 1
    [updated] = after.step([Seen("10.0.0.5")] * 2, START_MS + 60_000)
    assert told([updated]) == [(UPDATE, "10.0.0.5", 6)]
    assert updated.incident.seen.uid == created.incident.seen.uid
    assert updated.incident.seen.first_seen_ms == START_MS
    assert updated.incident.reports == 1
    [closed] = after.step([Seen("10.0.0.9", anomalous=False)], START_MS + 360_000)
    assert told([closed]) == [(CLOSE, "10.0.0.5", 6)]
    assert Life(topic).triage.open_incidents == 0


def test_its_evidence_is_that_of_before() -> None:
    topic = KeptTopic()
    [created] = Life(topic).step([Seen("10.0.0.5")], START_MS)
    after = Life(topic)
    after.wall_s += 400
    [closed] = after.tick()
    assert closed.incident.seen.evidence == created.incident.seen.evidence
    assert closed.incident.seen.evidence.vector is not None


def test_a_vector_of_another_spec_is_not_explained_by_this_one() -> None:
    topic = KeptTopic()
    Life(topic).step([Seen("10.0.0.5")], START_MS)
    after = Life(topic, spec_sha256="another")
    after.wall_s += 400
    [closed] = after.tick()
    assert closed.incident.seen.evidence.vector is None


def test_quiet_goes_on_where_it_was_and_downtime_counts_once() -> None:
    topic = KeptTopic()
    Life(topic).step([Seen("10.0.0.5")], START_MS)
    waiting = Life(topic)
    waiting.wall_s += 299
    assert waiting.tick() == []
    waiting.wall_s += 1
    assert told(waiting.tick()) == [(CLOSE, "10.0.0.5", 1)]


def test_what_was_not_committed_is_forgotten() -> None:
    topic = KeptTopic()
    life = Life(topic)
    life.step([Seen("10.0.0.5")], START_MS)
    life.step([Seen("10.0.0.5"), Seen("10.0.0.6")], START_MS, commits=False)
    life.own([FIRST])
    assert told(life.step([Seen("10.0.0.5")], START_MS + 60_000)) == [(UPDATE, "10.0.0.5", 2)]


def test_nothing_is_written_while_nothing_comes() -> None:
    topic = KeptTopic()
    life = Life(topic)
    life.step([Seen("10.0.0.5")], START_MS)
    written = len(topic.records)
    for _ in range(20):
        life.wall_s += 0.5
        life.tick()
    assert len(topic.records) == written


def test_of_two_incidents_of_one_entity_the_older_goes_on_and_the_other_is_closed() -> None:
    topic = KeptTopic()
    one, other = Life(topic, [FIRST]), Life(topic, [SECOND])
    [older] = one.step([Seen("10.0.0.5", 0)] * 5, START_MS)
    [younger] = other.step([Seen("10.0.0.5", 1)] * 7, START_MS)
    both = Life(topic, [FIRST, SECOND])
    assert both.triage.open_incidents == 1
    [closed] = both.tick()
    assert told([closed]) == [(CLOSE, "10.0.0.5", 7)]
    assert closed.incident.seen.uid == younger.incident.seen.uid
    again = Life(topic, [FIRST, SECOND])
    assert again.tick() == [], "it is told once"
    again.wall_s += 300
    [closed] = again.tick()
    assert told([closed]) == [(CLOSE, "10.0.0.5", 5)]
    assert closed.incident.seen.uid == older.incident.seen.uid


def test_a_partition_that_comes_later_joins_those_that_are_there() -> None:
    topic = KeptTopic()
    Life(topic, [SECOND]).step([Seen("10.0.0.6", 1)], START_MS)
    life = Life(topic, [FIRST])
    life.step([Seen("10.0.0.5", 0)], START_MS + 100_000)
    life.store.load([SECOND])
    assert life.triage.open_incidents == 2
    seen = [Seen("10.0.0.5", 0), Seen("10.0.0.6", 1)]
    changes = life.step(seen, START_MS + 160_000)
    assert told(changes) == [(UPDATE, "10.0.0.5", 2), (UPDATE, "10.0.0.6", 2)]


def test_many_micro_batches_leave_few_records_once_compacted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(state, "RING_RECORDS", 16)
    topic = KeptTopic()
    life = Life(topic)
    for n in range(100):
        life.step([Seen(f"10.0.0.{n % 7}"), Seen(f"10.0.1.{n % 90}", anomalous=False)], START_MS)
    assert len(topic.records) <= 16 + 2
    after = Life(topic)
    assert after.triage.open_incidents == 7
    assert after.triage.entities == 97


def test_whatever_is_large_is_cut_into_records_that_a_topic_takes() -> None:
    topic = KeptTopic()
    long = [Seen(f"{n:03}" + "x" * 250) for n in range(500)]
    many = [Seen(f"10.{n >> 8}.{n & 255}.1", anomalous=False) for n in range(4000)]
    limits = IncidentSettings(max_incidents_per_minute=10_000)
    life = Life(topic, incidents=limits)
    life.step([*long, *many], START_MS)
    life.step([*long, *many], START_MS + 1000)
    assert max(len(record.value or b"") for record in topic.records) < 900_000
    after = Life(topic, incidents=limits)
    assert (after.triage.open_incidents, after.triage.entities) == (500, 4500)


def test_who_was_seen_last_is_still_who_was_seen_last() -> None:
    topic, few = KeptTopic(), SpikeSettings(max_entities=3)
    life = Life(topic, spikes=few)
    for name in "abca":
        life.step([Seen(name, anomalous=False)], START_MS)
    after = Life(topic, spikes=few)
    after.step([Seen("d", anomalous=False)], START_MS)
    held = Life(topic, spikes=few).triage.spikes
    assert held
    assert held.entities.held(FIRST).names == ["c", "a", "d"]


def test_levels_of_other_windows_begin_anew() -> None:
    topic = KeptTopic()
    Life(topic).step([Seen("10.0.0.5")], START_MS)
    after = Life(topic, spikes=SpikeSettings(window_seconds=60))
    assert (after.triage.open_incidents, after.triage.entities) == (1, 0)


def test_the_threshold_stays_where_traffic_had_moved_it() -> None:
    topic = KeptTopic()
    life = Life(topic)
    life.tuning.observe(np.ones(100, np.float32), 1, 0.0)
    life.tuning.observe(np.ones(100, np.float32), 1, 100.0)
    life.step([Seen("10.0.0.5")], START_MS)
    kept = life.tuning.export()
    assert kept.traffic[0] > 0
    assert Life(topic).tuning.export() == kept
    other = Life(topic, weights_sha256="others").tuning.export()
    assert other.traffic == (0, 0, 0), "another detector's errors say nothing of this one's"


@pytest.mark.parametrize(
    "value",
    [None, b"", b"\x00" * 50, b'{"a": 1}', MAGIC, MAGIC + b"\x01\x91\x01", MAGIC + b"\x01\xff"],
)
def test_a_damaged_snapshot_is_counted_and_the_partition_begins_anew(value: bytes | None) -> None:
    topic = KeptTopic()
    life = Life(topic)
    life.step([Seen("10.0.0.5")], START_MS)
    life.step([Seen("10.0.0.6")], START_MS)
    topic.records[0] = replace(topic.records[0], value=value)
    with capture_logs() as logs:
        after = Life(topic)
    assert after.triage.open_incidents == 0
    [entry] = [e for e in logs if e["event"] == "state is not whole, going on with what there is"]
    assert entry["skipped"] == 2
    skipped = after.metrics.registry.get_sample_value("anomaly_monitor_state_skipped_records_total")
    assert skipped == 2
    after.step([Seen("10.0.0.7")], START_MS)
    assert Life(topic).triage.open_incidents == 1


def test_a_change_that_is_missing_loses_no_more_than_it_said() -> None:
    topic = KeptTopic()
    life = Life(topic)
    for name in ("10.0.0.5", "10.0.0.6", "10.0.0.7"):
        life.step([Seen(name)], START_MS)
    del topic.records[1]
    with capture_logs() as logs:
        assert Life(topic).triage.open_incidents == 2
    assert logs[0]["first"] == "vectors[0]: a record is missing"


def test_what_others_have_in_the_topic_is_left_alone() -> None:
    topic = KeptTopic()
    Life(topic).step([Seen("10.0.0.5")], START_MS)
    theirs = [replace(r, key=(r.key or b"").replace(b'"monitor"', b'"x"')) for r in topic.records]
    topic.records = [*theirs, replace(theirs[0], key=b"\xff"), replace(theirs[0], key=None)]
    with capture_logs() as logs:
        assert Life(topic).triage.open_incidents == 0
    assert logs[0]["skipped"] == 2, "records without a key of ours; another group's are its own"


def test_state_of_a_newer_format_is_refused_in_a_sentence() -> None:
    topic = KeptTopic()
    Life(topic).step([Seen("10.0.0.5")], START_MS)
    newer = MAGIC + bytes([FORMAT + 1]) + b"whatever"
    topic.records = [replace(record, value=newer) for record in topic.records]
    with pytest.raises(StreamError) as caught:
        Life(topic)
    assert str(caught.value) == (
        "topic monitor-state: state of format 2 was written by a newer monitor, and this one "
        "knows up to 1; run the newer one."
    )


def test_a_snapshot_that_was_cut_short_leaves_the_one_before() -> None:
    topic = KeptTopic()
    Life(topic).step([Seen("10.0.0.5")], START_MS)
    life = Life(topic)
    seen = [Seen(f"{n:03}" + "x" * 250, anomalous=False) for n in range(2000)]
    scored = scored_of(seen, START_MS)
    life.triage.step(scored, NOW_MS)
    topic.write(life.store.outputs(scored.batch)[:-1])
    assert Life(topic).triage.entities == 1


def test_texts_that_cannot_be_written_are_written_as_they_are_shown() -> None:
    topic = KeptTopic()
    Life(topic).step([Seen("a\tb"), Seen("c", anomalous=False)], START_MS)
    [part] = [decode(record.value) for record in topic.records]
    assert sorted(part.levels.names) == ["a\tb", "c"]
    assert part.open[0].subject.name == "a\\tb"
