"""The data's walk without Kafka: records in, alerts and dead letters out."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from monitor.batch import MicroBatch, Partition
from monitor.config import IncidentSettings, SpikeSettings, Suppression
from monitor.contracts.dead_letter import DeadLetterHeaders
from monitor.contracts.ocsf import DetectionFinding
from monitor.detect.detector import Detector
from monitor.errors import StreamError
from monitor.ingest.json_codec import JsonCodec
from monitor.reasons import Reason
from monitor.stream.pipeline import Judged, Pipeline, describe
from monitor.stream.suppress import Suppressions
from monitor.stream.triage import build_triage
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
) -> Pipeline:
    return Pipeline(
        JsonCodec(SPEC, detector.vocabularies, read_origins=True),
        detector,
        bundle_id="b" * 16,
        detector_name="dense autoencoder",
        alert_topic="alerts",
        dead_letter_topic="dead-letters",
        top_features=2,
        now_ms=lambda: NOW_MS,
        triage=build_triage(incidents, spikes, Suppressions(suppress, NOW_MS), ["vectors"]),
    )


def walk(pipeline: Pipeline, batch: MicroBatch) -> Judged:
    return pipeline.judge(batch, pipeline.decode(batch))


def test_normal_vectors_are_scored_and_make_no_output(pipeline: Pipeline) -> None:
    judged = walk(pipeline, batch_of(NORMAL, NORMAL, NORMAL))
    assert judged.outputs == []
    assert len(judged.errors) == 3


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
    assert judged.alerts == [alert]


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
    judged = walk(pipeline, batch_of(NORMAL, b"{broken", None, NORMAL))
    assert len(judged.errors) == 2
    assert judged.reasons == [Reason.MALFORMED_JSON, Reason.TOMBSTONE]
    broken, tombstone = judged.outputs
    assert (broken.topic, broken.key, broken.value) == ("dead-letters", b"key", b"{broken")
    assert tombstone.value is None
    headers = DeadLetterHeaders.from_headers(list(broken.headers))
    assert (headers.topic, headers.partition, headers.offset) == ("vectors", 3, 101)
    assert headers.time_ms == NOW_MS


def test_a_dead_letter_can_be_made_smaller(pipeline: Pipeline) -> None:
    [output] = walk(pipeline, batch_of(b"[" * 50_000)).outputs
    assert len(output.value or b"") == 50_000
    assert output.smaller
    smaller = output.smaller(10_000)
    assert 8_000 < len(smaller.value or b"") < 10_000
    assert DeadLetterHeaders.from_headers(list(smaller.headers)).truncated == "value"


def test_a_batch_of_rejects_only_is_no_special_case(pipeline: Pipeline) -> None:
    judged = walk(pipeline, batch_of(b"", b"x"))
    assert len(judged.errors) == 0
    assert len(judged.outputs) == 2


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


def test_a_batch_is_described_by_its_partitions_and_offsets() -> None:
    batch = MicroBatch(
        [Record(None, 5), Record(None, 7), Record(None, 2, partition=1), Record(None, 6)], {}
    )
    assert describe(batch) == "vectors[1] 2-2, vectors[3] 5-7"
