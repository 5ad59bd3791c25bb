"""The data's walk without Kafka: records in, alerts and dead letters out."""

import json
import re
import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from structlog.testing import capture_logs

from monitor.batch import EventIdentity, Matrix, MicroBatch, Partition
from monitor.config import IncidentSettings, SpikeSettings, Suppression
from monitor.contracts.dead_letter import DeadLetterHeaders
from monitor.contracts.ocsf import DetectionFinding
from monitor.contracts.text import plain
from monitor.detect.detector import Detector
from monitor.detect.incidents import Incidents
from monitor.errors import StreamError
from monitor.ingest.codec import build_codec
from monitor.reasons import Reason
from monitor.stream.contracts import RewindError
from monitor.stream.isolation import describe
from monitor.stream.journal import Journal
from monitor.stream.pipeline import DEFAULT_MAX_BYTES, Judged, Pipeline
from monitor.stream.suppress import Pattern, Suppressions
from monitor.stream.triage import Scored, build_triage
from tests.support.alerts import judge
from tests.support.detectors import SPEC, fit_small

NOW_MS = 1_790_000_000_000
NORMAL = {"bytes": 4000, "packets": 8, "rate": 0.8, "protocol": "tcp", "encrypted": True}
ODD = {"bytes": 9e9, "packets": 1, "rate": -5.0, "protocol": "gre", "encrypted": False}
EACH_VECTOR, NO_SPIKES = IncidentSettings(group_by="none"), SpikeSettings(enabled=False)
IDENTITY = {"uid": "C1", "ts": 1_789_999_999.5, "src": "10.0.0.5", "dst": "10.0.0.9"}


@dataclass(frozen=True)
class Record:
    """A Kafka record."""

    value: bytes | None
    offset: int
    topic: str = "vectors"
    partition: int = 3
    timestamp: int = NOW_MS - 1000
    key: bytes | None = b"key"
    headers: list[tuple[str, bytes]] = field(default_factory=list)


def batch_of(*values: Any) -> MicroBatch:
    encoded = [v if isinstance(v, bytes | None) else json.dumps(v).encode() for v in values]
    records = [Record(value, offset) for offset, value in enumerate(encoded, start=100)]
    return MicroBatch(records, {Partition("vectors", 3): 100 + len(records)})


@pytest.fixture(scope="module")
def detector() -> Detector:
    return fit_small().detector


@pytest.fixture
def pipeline(detector: Detector) -> Pipeline:
    return pipeline_of(detector)


def pipeline_of(
    detector: Detector,
    incidents: IncidentSettings = EACH_VECTOR,
    suppress: Sequence[Suppression] = (),
    spikes: SpikeSettings = NO_SPIKES,
    now_ms: Callable[[], int] = lambda: NOW_MS,
    clock: Callable[[], float] = lambda: 0.0,
    max_bytes: int = DEFAULT_MAX_BYTES,
    journal: Journal | None = None,
) -> Pipeline:
    return Pipeline(
        build_codec(SPEC, detector.vocabularies, read_origins=True),
        detector,
        bundle_id="b" * 16,
        detector_name="dense network",
        alert_topic="alerts",
        dead_letter_topic="dead-letters",
        top_features=2,
        now_ms=now_ms,
        triage=build_triage(incidents, spikes, Suppressions(suppress, NOW_MS), ["vectors"], clock),
        max_bytes=max_bytes,
        journal=journal,
    )


def arrow_of(*events: dict[str, Any]) -> bytes:
    table = pa.Table.from_pylist(list(events))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    value: bytes = sink.getvalue().to_pybytes()
    return value


def score(pipeline: Pipeline, batch: MicroBatch) -> Scored:
    return pipeline.score(batch, pipeline.decode(batch))


def walk(pipeline: Pipeline, batch: MicroBatch) -> Judged:
    return pipeline.judge(score(pipeline, batch))


def findings(judged: Judged) -> list[DetectionFinding]:
    """The alerts as a subscriber reads them."""
    return [DetectionFinding.from_bytes(alert.value) for alert in judged.alerts]


def test_normal_vectors_are_scored_and_make_no_output(pipeline: Pipeline) -> None:
    scored = score(pipeline, batch_of(NORMAL, NORMAL, NORMAL))
    assert len(scored.errors) == 3
    assert pipeline.judge(scored).outputs == []


def test_an_anomalous_vector_becomes_an_alert_keyed_by_its_entity(
    pipeline: Pipeline, detector: Detector
) -> None:
    judged = walk(pipeline, batch_of(NORMAL, {**ODD, **IDENTITY}, NORMAL))
    [output] = judged.outputs
    assert output.topic == "alerts"
    assert output.key == b"10.0.0.5"
    alert = DetectionFinding.from_bytes(output.value or b"")
    facts = alert.unmapped
    assert (facts.source.topic, facts.source.partition, facts.source.offset) == ("vectors", 3, 101)
    assert facts.record_id == "C1"
    assert facts.reconstruction_error > facts.threshold == pytest.approx(detector.threshold)
    assert facts.tail_probability < detector.false_alarm_rate
    assert len(facts.features) == 2
    assert facts.bundle_id == "b" * 16
    assert [(a.value, a.activity_name) for a in judged.alerts] == [(output.value, "Create")]


def test_the_same_record_and_bundle_give_the_same_alert_uid(detector: Detector) -> None:
    batch = batch_of({**ODD, **IDENTITY})
    uids = {
        DetectionFinding.from_bytes(output.value or b"").finding_info.uid
        for pipeline in (pipeline_of(detector), pipeline_of(detector))
        for output in walk(pipeline, batch).outputs
    }
    assert len(uids) == 1


def test_a_record_that_is_no_vector_becomes_a_dead_letter_and_the_others_are_scored(
    pipeline: Pipeline,
) -> None:
    scored = score(pipeline, batch_of(NORMAL, b"{broken", None, NORMAL))
    assert len(scored.errors) == 2
    broken, tombstone = pipeline.judge(scored).outputs
    assert (broken.topic, broken.key, broken.value) == ("dead-letters", b"key", b"{broken")
    assert tombstone.value is None
    headers = DeadLetterHeaders.from_headers(list(broken.headers))
    assert (headers.topic, headers.partition, headers.offset) == ("vectors", 3, 101)
    assert (headers.reason, headers.time_ms) == (Reason.MALFORMED_JSON, NOW_MS)
    assert DeadLetterHeaders.from_headers(list(tombstone.headers)).reason is Reason.TOMBSTONE


def test_a_dead_letter_can_be_made_smaller(pipeline: Pipeline) -> None:
    [output] = walk(pipeline, batch_of(b"[" * 50_000)).outputs
    assert len(output.value or b"") == 50_000
    assert output.smaller
    smaller = output.smaller(10_000)
    assert 8_000 < len(smaller.value or b"") < 10_000
    assert DeadLetterHeaders.from_headers(list(smaller.headers)).truncated == "value"


def test_a_batch_of_rejects_only_is_no_special_case(pipeline: Pipeline) -> None:
    scored = score(pipeline, batch_of(b"", b"x"))
    assert len(scored.errors) == 0
    assert len(pipeline.judge(scored).outputs) == 2


def test_a_defect_names_the_records_it_failed_on(
    pipeline: Pipeline, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(values: Any) -> Any:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(detector, "score", broken)
    with pytest.raises(StreamError) as caught:
        walk(pipeline, batch_of(NORMAL, NORMAL))
    assert "scoring failed on vectors[3] 100-101 (RuntimeError: no such kernel)" in str(
        caught.value
    )


@pytest.mark.parametrize("defective", [{0}, {5}, {2, 3}, {1, 7}])
def test_records_on_which_triage_fails_are_told_of_apart_and_the_others_as_ever(
    detector: Detector, monkeypatch: pytest.MonkeyPatch, defective: set[int]
) -> None:
    take = Incidents._take

    def broken(self: Any, seen: Any, *times: int) -> Any:
        yield from take(self, seen, *times)
        if seen.evidence.offset - 100 in defective:
            raise ZeroDivisionError("a defect")

    monkeypatch.setattr(Incidents, "_take", broken)
    pipeline = pipeline_of(detector, IncidentSettings())
    batch = batch_of(*(odd(str(n), f"10.0.0.{n}") for n in range(8)))
    for _ in range(5 * len(defective)):
        pipeline.triage.begin_anew()  # as the service does when it goes back
        try:
            judged = [walk(pipeline, piece) for piece in pipeline.pieces(batch)]
            break
        except RewindError:
            continue
    uids = [alert.finding_info.uid for one in judged for alert in findings(one)]
    assert len(uids) == len(set(uids)) == 8
    assert pipeline.triage.open_incidents == 8 - len(defective)


def test_triage_that_fails_on_everything_ends_the_stream(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(Incidents, "step", broken)
    pipeline = pipeline_of(detector, IncidentSettings())
    batch = batch_of(*(odd(str(n), f"10.0.0.{n}") for n in range(100)))

    def once() -> None:
        for piece in pipeline.pieces(batch):
            walk(pipeline, piece)

    for _ in range(63):
        with pytest.raises(RewindError):
            once()
    with pytest.raises(StreamError, match="triage failed 64 times in a row"):
        once()


def test_a_batch_is_described_by_its_partitions_and_offsets() -> None:
    batch = MicroBatch(
        [Record(None, 5), Record(None, 7), Record(None, 2, partition=1), Record(None, 6)], {}
    )
    assert describe(batch) == "vectors[1] 2-2, vectors[3] 5-7"


def test_an_alert_of_a_record_that_holds_many_vectors_says_which_it_is(pipeline: Pipeline) -> None:
    batch = batch_of(NORMAL, arrow_of(NORMAL, {**NORMAL, **ODD}, NORMAL))
    [alert] = findings(walk(pipeline, batch))
    source = alert.unmapped.source
    assert (source.offset, source.within) == (101, 1)
    assert alert.unmapped.features[0].observed in ODD.values()


def test_a_batch_is_parted_by_what_it_becomes_and_each_part_has_its_offsets(
    detector: Detector,
) -> None:
    pipeline = pipeline_of(detector, max_bytes=150_000)
    values = [arrow_of(*[NORMAL] * 2_000) for _ in range(3)]
    parts = list(pipeline.pieces(batch_of(*values)))
    assert [part.next_offsets for part in parts] == [
        {Partition("vectors", 3): end} for end in (102, 103)
    ]
    assert [len(score(pipeline, part).errors) for part in parts] == [4_000, 2_000]


def odd(uid: str, source: str, **more: Any) -> dict[str, Any]:
    return {**ODD, "uid": uid, "ts": NOW_MS / 1000 - 1, "src": source, "dst": "10.0.0.9", **more}


def told(judged: Judged) -> list[tuple[str, str, int]]:
    """Of each alert the activity, whom it is about and its vectors."""
    return [(a.activity_name, a.unmapped.incident.name, a.count) for a in findings(judged)]


def test_the_vectors_of_a_host_are_one_alert_that_grows(detector: Detector) -> None:
    pipeline = pipeline_of(detector, IncidentSettings())
    start_s = NOW_MS / 1000 - 1000
    batch = batch_of(odd("a", "10.0.0.5", ts=start_s), NORMAL, odd("b", "10.0.0.5", ts=start_s))
    first = walk(pipeline, batch)
    assert told(first) == [("Create", "10.0.0.5", 2)]
    assert [output.key for output in first.outputs] == [b"10.0.0.5"]
    assert told(walk(pipeline, batch_of(odd("c", "10.0.0.5", ts=start_s + 59)))) == []
    later = walk(pipeline, batch_of(odd("d", "10.0.0.5", ts=start_s + 61)))
    assert told(later) == [("Update", "10.0.0.5", 4)]
    assert findings(later)[0].finding_info.uid == findings(first)[0].finding_info.uid
    assert findings(later)[0].duration == 61_000


def test_each_record_of_many_entities_is_read_again_once(detector: Detector) -> None:
    hosts = [f"10.0.0.{n}" for n in range(20)]
    worse = [odd("b", host, bytes=9e12) for host in hosts]
    mild = [odd("a", host) for host in hosts]
    first, second = arrow_of(*mild[::2], *worse[1::2]), arrow_of(*worse[::2], *mild[1::2])
    pipeline = pipeline_of(detector, IncidentSettings())
    scored, read = score(pipeline, batch_of(first, second)), []

    def identify(value: bytes, within: int) -> EventIdentity:
        read.append(value)
        return scored.identify(value, within)

    judged = pipeline.judge(replace(scored, identify=identify))
    assert sorted(told(judged)) == sorted(("Create", host, 2) for host in hosts)
    assert read == [first] * 10 + [second] * 10


def test_a_long_text_shows_that_it_was_cut(detector: Detector) -> None:
    scored = score(pipeline_of(detector), batch_of({**ODD, "protocol": "x" * 300}))
    assert plain(scored.detection(0).event.observed[3]) == "x" * 255 + "…"


def test_the_same_records_open_the_same_incident_again(detector: Detector) -> None:
    batches = [batch_of(NORMAL, odd("a", "10.0.0.5")), batch_of(NORMAL, odd("a", "10.0.0.5"))]
    uids = [
        (alert.finding_info.uid, alert.metadata.uid)
        for batch in batches
        for alert in findings(walk(pipeline_of(detector, IncidentSettings()), batch))
    ]
    assert len(uids) == 2
    assert len(set(uids)) == 1


@pytest.mark.parametrize(
    "ended",
    [Pipeline.tick, lambda pipeline: walk(pipeline, batch_of(b"no vector"))],
    ids=["silent", "all rejects"],
)
def test_an_incident_ends_though_no_vector_comes(
    detector: Detector, ended: Callable[[Pipeline], Judged]
) -> None:
    second = [7.0]
    pipeline = pipeline_of(detector, IncidentSettings(), clock=lambda: second[0])
    [created] = findings(walk(pipeline, batch_of(odd("a", "10.0.0.5"))))
    second[0] += 299
    assert told(pipeline.tick()) == []
    second[0] += 1
    judged = ended(pipeline)
    assert told(judged) == [("Close", "10.0.0.5", 1)]
    [closed] = findings(judged)
    assert closed.finding_info.uid == created.finding_info.uid
    assert closed.metadata.uid != created.metadata.uid
    assert closed.message.startswith("over: 1 anomalous vector; ")
    assert judge(judged.outputs[0].value or b"")["status"] == "Resolved"


def test_a_step_of_the_wall_clock_ends_no_incident(detector: Detector) -> None:
    now_ms = [NOW_MS]
    pipeline = pipeline_of(detector, IncidentSettings(), now_ms=lambda: now_ms[0])
    walk(pipeline, batch_of(odd("a", "10.0.0.5")))
    now_ms[0] += 86_400_000
    assert told(pipeline.tick()) == []
    assert told(walk(pipeline, batch_of({**NORMAL, "ts": NOW_MS / 1000 - 1}))) == []


def test_incidents_go_on_and_end_though_events_claim_one_time_for_ever(
    detector: Detector,
) -> None:
    second = [7.0]
    pipeline = pipeline_of(detector, IncidentSettings(), clock=lambda: second[0])
    activities: Counter[str] = Counter()
    for minute in range(10):
        second[0] = 7.0 + 60 * minute
        sources = [f"10.0.{minute}.{n}" for n in range(20)]
        events = [odd(source, source, dst=source) for source in [*sources, "10.9.9.9"]]
        judged = walk(pipeline, batch_of(*events))
        activities.update(activity for activity, _, _ in told(judged))
    assert activities == {"Create": 201, "Update": 9, "Close": 100}


def test_the_times_of_sparse_events_are_their_own(detector: Detector) -> None:
    pipeline = pipeline_of(detector, IncidentSettings())
    times_ms = [NOW_MS - 86_400_000 + n * 360_000 for n in range(50)]
    walked = [walk(pipeline, batch_of(odd("a", "10.0.0.5", ts=t / 1000))) for t in times_ms]
    created = [a for judged in walked for a in findings(judged) if a.activity_name == "Create"]
    assert len(created) == 25
    assert {alert.time for alert in created} <= set(times_ms)
    closed = [a for judged in walked for a in findings(judged) if a.activity_name == "Close"]
    assert {alert.end_time for alert in closed} <= set(times_ms)


def test_one_wild_clock_makes_no_incident_long(detector: Detector) -> None:
    pipeline = pipeline_of(detector, IncidentSettings())
    times = [NOW_MS / 1000 - 1, 1_000_000_000, NOW_MS / 1000 + 80_000, "1999-01-01", None]
    judged = walk(pipeline, batch_of(*(odd(str(t), "10.0.0.5", ts=t) for t in times)))
    assert findings(judged)[0].count == 5
    assert findings(judged)[0].duration <= 600_000


def test_events_that_name_no_one_are_grouped_by_the_key_of_their_record(
    detector: Detector,
) -> None:
    pipeline = pipeline_of(detector, IncidentSettings())
    judged = walk(pipeline, batch_of(ODD, ODD, list(ODD.values())))
    assert told(judged) == [("Create", "key", 3)]
    assert [output.key for output in judged.outputs] == [b"key"]


def suppressed_by(detector: Detector, *events: Any, **rule: Any) -> list[str]:
    """The ids of the events that are still told of; all are anomalous."""
    pipeline = pipeline_of(detector, suppress=[Suppression(reason="known", **rule)])
    judged = walk(pipeline, batch_of(*events))
    left = [alert.unmapped.record_id or "" for alert in findings(judged)]
    assert judged.suppressed == ["known"] * (len(events) - len(left))
    return left


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        ({"entity": "10.0.0.5"}, ["b", "c"]),
        ({"entity": "10.0.0.0/24"}, ["c"]),
        ({"entity": "10.0.*"}, ["c"]),
        ({"entity": "10.0.0.[5-6]"}, ["a", "b", "c"]),
        ({"entity": "10.0.0.?"}, ["a", "b", "c"]),
        ({"entity": "10.0.0.9"}, ["a", "b", "c"]),
        ({"labels": {"destination": "10.0.0.9"}}, []),
        ({"labels": {"destination": "10.0.0.9", "source": "2001:db8::/32"}}, ["a", "b"]),
        ({"labels": {"sensor": "*"}}, ["a", "b", "c"]),
        ({"entity": "10.0.0.5", "labels": {"destination": "10.9.*"}}, ["a", "b", "c"]),
        ({"feature": "no such"}, ["a", "b", "c"]),
        ({"feature": "*"}, []),
        ({"entity": "10.0.0.5", "expires": datetime(2020, 1, 1)}, ["a", "b", "c"]),
        ({"entity": "10.0.0.5", "expires": datetime(2999, 1, 1, tzinfo=UTC)}, ["b", "c"]),
    ],
)
def test_what_meets_all_conditions_of_a_suppression_is_counted_and_not_told(
    detector: Detector, rule: dict[str, Any], left: list[str]
) -> None:
    events = [odd("a", "10.0.0.5"), odd("b", "10.0.0.6"), odd("c", "2001:DB8::1")]
    assert suppressed_by(detector, *events, **rule) == left


def test_a_suppression_can_name_the_first_feature(detector: Detector) -> None:
    [first] = findings(walk(pipeline_of(detector), batch_of(odd("a", "10.0.0.5"))))
    name = first.unmapped.features[0].name
    assert suppressed_by(detector, odd("a", "10.0.0.5"), feature=name) == []


@pytest.mark.parametrize(
    ("pattern", "value", "matches"),
    [
        ("10.0.0.0/8", "::ffff:10.0.0.1", True),
        ("10.0.0.0/8", "::ffff:11.0.0.1", False),
        ("::ffff:0:0/96", "::ffff:10.0.0.1", True),
        ("2001:db8::/32", "10.0.0.1", False),
        ("rate[0]", "rate[0]", True),
        ("rate[*]", "rate[12]", True),
        ("rate[0]", "rate0", False),
        ("flag?", "flag?", True),
        ("flag?", "flags", False),
        ("a*c", "abc", True),
    ],
)
def test_a_condition_is_an_address_a_range_or_a_text_with_stars(
    pattern: str, value: str, matches: bool
) -> None:
    assert Pattern(pattern).matches(value) is matches


@pytest.mark.parametrize(("key", "name"), [(b"key", "key"), (None, "vectors/3")])
def test_a_suppression_can_name_the_record_key_or_partition_that_an_alert_would_be_about(
    detector: Detector, key: bytes | None, name: str
) -> None:
    rules = [Suppression(reason="known", entity=name)]
    pipeline = pipeline_of(detector, IncidentSettings(), rules)
    record = Record(json.dumps(ODD).encode(), 100, key=key)
    judged = walk(pipeline, MicroBatch([record], {}))
    assert (judged.suppressed, judged.outputs) == (["known"], [])


def test_an_open_incident_keeps_little_of_a_large_record_key(detector: Detector) -> None:
    pipeline = pipeline_of(detector, IncidentSettings())
    tracemalloc.start()
    record = Record(json.dumps(ODD).encode(), 100, key=b"k" * 1_000_000)
    [key] = [output.key for output in walk(pipeline, MicroBatch([record], {})).outputs]
    del record
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert key == b"k" * 1024
    assert pipeline.triage.open_incidents == 1
    assert kept < 200_000


def test_a_suppression_of_everything_and_an_expired_one_are_warned_about() -> None:
    rules = [
        Suppression(reason="all", entity="*"),
        Suppression(reason="all of one version", entity="0.0.0.0/0"),
        Suppression(reason="some", entity="10.0.0.0/8", labels={"sensor": "*"}),
        Suppression(reason="old", entity="10.0.0.1", expires=datetime(2020, 1, 1)),
    ]
    with capture_logs() as logs:
        Suppressions(rules, NOW_MS)
    assert [(entry["event"], entry["reason"]) for entry in logs] == [
        ("suppression matches everything", "all"),
        ("suppression matches everything", "all of one version"),
        ("suppression has expired", "old"),
    ]


def test_only_what_is_told_is_explained(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    explained: list[int] = []
    attribute = detector.attribute

    def counting(values: Matrix) -> Any:
        explained.append(len(values))
        return attribute(values)

    monkeypatch.setattr(detector, "attribute", counting)
    pipeline = pipeline_of(detector, IncidentSettings())
    events = [odd(str(n), f"10.0.0.{n % 10}") for n in range(500)]
    for start in range(0, 500, 100):
        walk(pipeline, batch_of(*events[start : start + 100]))
    assert explained == [10]


def test_a_rise_of_the_level_is_told_in_words(detector: Detector) -> None:
    settings = SpikeSettings(window_seconds=1, max_entities=0)
    pipeline = pipeline_of(detector, IncidentSettings(), spikes=settings)
    start_s = NOW_MS / 1000 - 10_000
    alerts: list[DetectionFinding] = []
    for second in range(50):
        attacks, ts = 20 if second >= 40 else 1, start_s + second
        events = [odd(f"{second}-{n}", f"10.0.0.{n}", ts=ts) for n in range(attacks)]
        normal = [{**NORMAL, "ts": ts}] * (40 - attacks)
        alerts += findings(walk(pipeline, batch_of(*events, *normal)))
    rises = [alert for alert in alerts if alert.unmapped.incident.spike]
    assert rises[0].unmapped.incident.type == "stream"
    assert rises[0].activity_name == "Create"
    words = r"anomaly ratio 50 %, usually about 2\.\d %, since \d\d:\d\d UTC; "
    assert re.match(words, rises[0].message)
    assert rises[0].time <= (start_s + 45) * 1000


SCANNER = Suppression(reason="scanner", entity="10.9.0.0/16")


def by_the_second(
    pipeline: Pipeline, events_at: Callable[[int], Sequence[dict[str, Any]]], seconds: int = 60
) -> list[Judged]:
    start_s = NOW_MS / 1000 - 10_000
    return [
        walk(pipeline, batch_of(*({**event, "ts": start_s + n} for event in events_at(n))))
        for n in range(seconds)
    ]


def test_what_is_suppressed_makes_no_rise_of_the_stream(detector: Detector) -> None:
    def events_at(second: int) -> list[dict[str, Any]]:
        scans = 20 if second >= 40 else 0
        return [*[odd("", "10.9.1.1")] * scans, *[{**NORMAL, "src": "10.0.0.1"}] * (40 - scans)]

    settings = SpikeSettings(window_seconds=1)
    pipeline = pipeline_of(detector, IncidentSettings(), [SCANNER], settings)
    judged = by_the_second(pipeline, events_at)
    assert [alert for each in judged for alert in each.alerts] == []
    assert sum(len(each.suppressed) for each in judged) == 20 * 20
    assert pipeline.triage.spike_level == 0


def test_a_rise_of_a_suppressed_entity_is_counted_once(detector: Detector) -> None:
    larger = {**NORMAL, "packets": 12, "src": "10.9.1.1"}

    def events_at(second: int) -> list[dict[str, Any]]:
        scanner = larger if second >= 40 else {**NORMAL, "src": "10.9.1.1"}
        return [scanner, *[{**NORMAL, "src": "10.0.0.1"}] * 20]

    settings = SpikeSettings(window_seconds=1)
    told = by_the_second(pipeline_of(detector, IncidentSettings(), (), settings), events_at)
    names = [alert.unmapped.incident.name for each in told for alert in findings(each)]
    assert not len(score(pipeline_of(detector), batch_of(*events_at(40))).anomalous)
    assert "10.9.1.1" in names
    spared = by_the_second(
        pipeline_of(detector, IncidentSettings(), [SCANNER], settings), events_at
    )
    left = [alert.unmapped.incident.name for each in spared for alert in findings(each)]
    assert left == [name for name in names if name != "10.9.1.1"]
    assert [reason for each in spared for reason in each.suppressed] == ["scanner"]
