"""Records on which the monitor itself fails: set aside one by one, unless it is not their fault."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from monitor.batch import EventIdentity, MicroBatch, Partition
from monitor.config import IncidentSettings
from monitor.contracts.dead_letter import DeadLetterHeaders
from monitor.contracts.ocsf import DetectionFinding
from monitor.detect.detector import Detector, Scores
from monitor.errors import StreamError
from monitor.ingest.codec import Codec
from monitor.reasons import Reason
from monitor.stream import pipeline as pipeline_module
from monitor.stream.isolation import TELL_SECONDS, TOO_MANY, Isolation
from monitor.stream.pipeline import Pipeline
from tests.support.detectors import fit_small
from tests.unit.test_pipeline import (
    NORMAL,
    Record,
    arrow_of,
    batch_of,
    findings,
    odd,
    pipeline_of,
    score,
    walk,
)

POISON = b'{"poison": 1}'


@pytest.fixture(scope="module")
def detector() -> Detector:
    return fit_small().detector


@pytest.fixture
def pipeline(detector: Detector) -> Pipeline:
    return pipeline_of(detector, IncidentSettings())


def failing_on(codec: Codec, fails: Callable[[Sequence[bytes | None]], bool]) -> Callable[..., Any]:
    """The codec's decoding with a defect."""
    decode = codec.decode

    def defective(values: Sequence[bytes | None]) -> Any:
        if fails(values):
            raise ZeroDivisionError("a defect")
        return decode(values)

    return defective


@pytest.fixture
def defective(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """Decoding fails where there is poison."""
    codec = pipeline._codec
    monkeypatch.setattr(codec, "decode", failing_on(codec, lambda values: POISON in values))
    return pipeline


def records(size: int) -> MicroBatch:
    return MicroBatch([Record(b"", n) for n in range(size)], {Partition("vectors", 3): size})


def isolation(control: Callable[[], object] = lambda: None, **options: Any) -> Isolation:
    return Isolation("decoding", control, **options)


def letters(outputs: Sequence[Any]) -> dict[int, DeadLetterHeaders]:
    found = [
        DeadLetterHeaders.from_headers(output.headers)
        for output in outputs
        if output.topic == "dead-letters"
    ]
    return {letter.offset: letter for letter in found}


@given(st.integers(0, 60), st.data())
@settings(max_examples=150, deadline=None)
def test_exactly_the_records_that_fail_are_set_aside(size: int, data: st.DataObject) -> None:
    bad = data.draw(st.sets(st.integers(0, max(size - 1, 0)), max_size=size))

    def attempt(rows: Sequence[int]) -> list[int]:
        if bad.intersection(rows):
            raise ValueError("a defect")
        return list(rows)

    done, poisoned = isolation().sift(records(size), range(size), attempt)
    assert [reject.row for reject in poisoned] == sorted(bad & set(range(size)))
    assert [row for rows, _ in done for row in rows] == sorted(set(range(size)) - bad)
    assert all(list(rows) == result for rows, result in done)


def test_what_fails_only_once_is_no_records_fault() -> None:
    failures = iter([True])

    def attempt(rows: Sequence[int]) -> int:
        if next(failures, False):
            raise ValueError("a moment's trouble")
        return len(rows)

    done, poisoned = isolation().sift(records(9), range(9), attempt)
    assert sum(count for _, count in done) == 9
    assert poisoned == []


def fails(*_: object) -> Any:
    raise RuntimeError("CUDA error: an illegal memory access")


def test_where_a_control_of_our_own_fails_as_well_the_stream_stops_and_no_record_is_blamed() -> (
    None
):
    with pytest.raises(StreamError, match=r"vectors\[3\] 0-0 .*which is no fault of these records"):
        isolation(control=fails).sift(records(1), range(1), fails)


def test_a_full_memory_is_no_records_fault() -> None:
    def full(rows: Sequence[int]) -> Any:
        raise MemoryError

    with pytest.raises(StreamError, match="MemoryError"):
        isolation().sift(records(9), range(9), full)


def test_where_every_record_of_a_large_micro_batch_fails_the_stream_stops_instead() -> None:
    attempts: list[int] = []

    def attempt(rows: Sequence[int]) -> Any:
        attempts.append(len(rows))
        fails()

    with pytest.raises(StreamError, match=f"failed on {TOO_MANY} records in a row, the last vec"):
        isolation().sift(records(4096), range(4096), attempt)
    assert len(attempts) < 3 * TOO_MANY
    _, poisoned = isolation().sift(records(TOO_MANY - 1), range(TOO_MANY - 1), fails)
    assert len(poisoned) == TOO_MANY - 1


def test_so_it_does_where_small_micro_batches_fail_one_after_another() -> None:
    apart = isolation()
    for _ in range(TOO_MANY - 1):
        apart.sift(records(1), range(1), fails)
    apart.sift(records(1), range(1), len)  # one passes, and the count begins anew
    for _ in range(TOO_MANY - 1):
        apart.sift(records(1), range(1), fails)
    with pytest.raises(StreamError, match="in a row"):
        apart.sift(records(1), range(1), fails)


def test_it_is_logged_at_once_with_its_traceback_and_then_seldom() -> None:
    second = [0.0]
    apart = isolation(clock=lambda: second[0])
    with capture_logs() as logs:
        for _ in range(3):
            apart.sift(records(2), range(2), lambda rows: fails() if 1 in rows else 0)
        second[0] += TELL_SECONDS
        apart.sift(records(2), range(2), lambda rows: fails() if 1 in rows else 0)
    assert [(entry["log_level"], entry["records"], entry["latest"]) for entry in logs] == [
        ("error", 1, "vectors[3] 1"),
        ("error", 3, "vectors[3] 1"),
    ]
    assert isinstance(logs[0]["exc_info"], RuntimeError)


def test_a_record_that_decoding_fails_on_is_a_dead_letter_and_all_others_are_scored(
    defective: Pipeline,
) -> None:
    batch = batch_of(NORMAL, arrow_of(NORMAL, NORMAL), POISON, b"{broken", odd("a", "10.0.0.5"))
    scored = score(defective, batch)
    assert scored.decoded.batch.rows.tolist() == [0, 1, 1, 4]
    judged = defective.judge(scored)
    assert [alert.unmapped.record_id for alert in findings(judged)] == ["a"]
    assert findings(judged)[0].unmapped.source.offset == 104
    told = letters(judged.outputs)
    assert {offset: letter.reason for offset, letter in told.items()} == {
        102: Reason.DEFECT,
        103: Reason.MALFORMED_JSON,
    }
    assert told[102].error == "decoding failed: ZeroDivisionError: a defect"
    [letter] = [o for o in judged.outputs if o.value == POISON]
    assert letter.key == b"key"


def test_a_record_that_scoring_fails_on_is_one_dead_letter_of_all_its_vectors(
    pipeline: Pipeline, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = detector.score

    def defective(values: Any) -> Scores:
        if (values == 12_345).any():
            raise IndexError("a defect")
        return scores(values)

    monkeypatch.setattr(detector, "score", defective)
    poison = {**NORMAL, "bytes": 12_345}
    batch = batch_of(NORMAL, arrow_of(NORMAL, poison, NORMAL), b"x", NORMAL)
    scored = score(pipeline, batch)
    assert len(scored.errors) == len(scored.decoded.batch) == 2
    assert scored.decoded.batch.rows.tolist() == [0, 3]
    told = letters(pipeline.judge(scored).outputs)
    assert {offset: letter.vectors for offset, letter in told.items()} == {101: 3, 102: None}
    assert told[101].error == "scoring failed: IndexError: a defect"


def test_a_vector_whose_error_is_no_number_is_not_taken_for_normal(
    pipeline: Pipeline, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defective(values: Any) -> Scores:
        errors = np.where(values[:, 0] == 12_345, np.nan, 0).astype(np.float32)
        return Scores(errors, detector.threshold)

    monkeypatch.setattr(detector, "score", defective)
    judged = walk(pipeline, batch_of(NORMAL, {**NORMAL, "bytes": 12_345}))
    assert letters(judged.outputs)[101].reason is Reason.DEFECT


def test_a_device_that_fails_whatever_it_is_given_stops_the_stream(
    pipeline: Pipeline, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detector, "score", fails)
    with pytest.raises(StreamError, match=r"illegal memory access.*no fault of these records"):
        score(pipeline, batch_of(NORMAL))


def test_poison_is_found_again_in_the_same_place_after_a_rewind(defective: Pipeline) -> None:
    batch = batch_of(*[NORMAL] * 20, POISON, *[NORMAL] * 20)
    first, second = (walk(defective, batch) for _ in range(2))
    assert [o.value for o in first.outputs] == [o.value for o in second.outputs] == [POISON]


def test_an_anomaly_whose_event_cannot_be_read_again_is_told_of_without_it(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    identify = pipeline._codec.identify

    def defective(value: bytes, within: int = -1) -> EventIdentity:
        return fails() if b"10.0.0.6" in value else identify(value, within)

    monkeypatch.setattr(pipeline._codec, "identify", defective)
    with capture_logs() as logs:
        alerts = findings(walk(pipeline, batch_of(*(odd("a", f"10.0.0.{n}") for n in (5, 6, 7)))))
    assert [a.unmapped.incident.name for a in alerts] == ["10.0.0.5", "key", "10.0.0.7"]
    assert [entry["event"] for entry in logs] == ["events could not be read again"]


def test_an_alert_that_cannot_be_explained_is_told_without_reasons(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    render = pipeline_module.render_alert

    def defective(change: Any, now_ms: int, features: Any) -> Any:
        alert = render(change, now_ms, features)
        return fails() if b'"a6"' in alert.value else alert

    monkeypatch.setattr(pipeline_module, "render_alert", defective)
    events = [odd(f"a{n}", f"10.0.0.{n}") for n in (5, 6, 7)]
    with capture_logs() as logs:
        alerts = [
            DetectionFinding.from_bytes(a.value) for a in walk(pipeline, batch_of(*events)).alerts
        ]
    assert [(a.unmapped.incident.name, len(a.unmapped.features)) for a in alerts] == [
        ("10.0.0.5", 2),
        ("10.0.0.6", 0),
        ("10.0.0.7", 2),
    ]
    assert [entry["event"] for entry in logs] == ["alerts could not be explained"]
