"""The data's walk without Kafka: a micro-batch in, what there is to publish of it out.

    for piece in pipeline.pieces(batch):
        scored = pipeline.score(piece, pipeline.decode(piece))
        judged = pipeline.judge(scored)

Records become arrays at once; a row becomes an object again only once it has been found anomalous.
Nothing depends on what was decoded or scored before, so that both may run ahead, each on a thread
of its own; what is judged is judged in order.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter

import numpy as np
import structlog

from monitor.batch import (
    Decoded,
    EventIdentity,
    FeatureDeviation,
    MicroBatch,
    Partition,
    Record,
    Reject,
)
from monitor.contracts.alert import Alert, render_alert
from monitor.contracts.dead_letter import MAX_DEAD_LETTER_BYTES, render_dead_letter
from monitor.contracts.detection import Detection
from monitor.detect.detector import Detector, Scores
from monitor.detect.explain import explain
from monitor.detect.incidents import Change
from monitor.errors import MonitorError, StreamError
from monitor.ingest.codec import Codec, merged
from monitor.ingest.pieces import pieces
from monitor.stream.apart import Apart
from monitor.stream.contracts import Output
from monitor.stream.isolation import Isolation, Rows, Seldom, describe
from monitor.stream.journal import Journal
from monitor.stream.triage import Scored, Triage

DEFAULT_MAX_BYTES = 8 * 1024 * 1024
_VALUE = attrgetter("value")

Step = Callable[[Scored, int], tuple[list[Change[Detection]], list[str]]]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Judged:
    """What there is to tell of a micro-batch, or after a while without one.

    Attributes:
        outputs: alerts, then dead letters, then the journal.
        suppressed: why, of each vector or rise that was suppressed.
    """

    outputs: Sequence[Output]
    alerts: Sequence[Alert] = ()
    suppressed: Sequence[str] = ()


class Pipeline:
    """Decodes, scores, explains and renders, by one bundle.

    `use` may be called between micro-batches, whatever is being scored.

    Args:
        now_ms: wall time for alerts and dead letters, milliseconds since 1970.
        max_bytes: what the records of a piece take once decoded, unless it is a single record.
        journal: None where no journal is kept.
    """

    def __init__(
        self,
        codec: Codec,
        detector: Detector,
        bundle_id: str,
        detector_name: str,
        alert_topic: str,
        dead_letter_topic: str,
        top_features: int,
        now_ms: Callable[[], int],
        triage: Triage,
        max_bytes: int = DEFAULT_MAX_BYTES,
        journal: Journal | None = None,
    ) -> None:
        self._codec, self._detector_name = codec, detector_name
        self._by = detector, bundle_id
        self._alert_topic, self._dead_letter_topic = alert_topic, dead_letter_topic
        self._top_features, self._now_ms = top_features, now_ms
        self.triage = triage
        self._decoding = Isolation("decoding", lambda: codec.decode([b"{}"]))
        self._scoring = Isolation("scoring", self._score_zeros)
        self._apart = Apart()
        self._unread, self._unexplained = Seldom(), Seldom()
        self._max_bytes = max_bytes
        self._journal = journal

    def use(self, detector: Detector, bundle_id: str | None = None) -> None:
        """Judge by this detector from now on, of the same bundle unless another is named."""
        self._by = detector, bundle_id or self._by[1]

    def pieces(self, batch: MicroBatch) -> Iterator[MicroBatch]:
        """The micro-batch, parted where its vectors would take too much memory at once.

        And where triage has failed on its records before.
        """
        ranges = list(self._apart.ranges(batch))
        for part in [batch] if len(ranges) == 1 else parts(batch, ranges):
            yield from self._small(part)

    def _small(self, batch: MicroBatch) -> Iterator[MicroBatch]:
        values = list(map(_VALUE, batch.records))
        ranges = list(pieces(values, len(self._codec.spec), self._max_bytes))
        yield from [batch] if len(ranges) == 1 else parts(batch, ranges)

    def decode(self, batch: MicroBatch) -> Decoded:
        """Records to vectors and rejects.

        Raises:
            StreamError: by a defect that is not one record's, it failed on these.
        """
        values = list(map(_VALUE, batch.records))

        def attempt(rows: Rows) -> Decoded:
            chosen = values if len(rows) == len(values) else [values[row] for row in rows]
            return self._codec.decode(chosen)

        done, poisoned = self._decoding.sift(batch, range(len(values)), attempt)
        if len(done) == 1 and not poisoned:
            return done[0][1]
        apart = [(np.array(rows, np.int64), decoded) for rows, decoded in done]
        decoded = merged(apart) if apart else self._codec.decode([])
        return _without(poisoned, decoded)

    def score(self, batch: MicroBatch, decoded: Decoded) -> Scored:
        """What the detector of the moment makes of the vectors.

        Raises:
            StreamError: by a defect that is not one record's, it failed on these.
        """
        detector, bundle_id = self._by
        vectors = decoded.batch

        def attempt(rows: Rows) -> Scores:
            start, end = np.searchsorted(vectors.rows, (rows[0], rows[-1] + 1)) if rows else (0, 0)
            scores = detector.score(vectors.values[start:end])
            if np.isnan(scores.errors).any():  # it would pass for normal
                raise ArithmeticError("an error is no number")
            return scores

        done, poisoned = self._scoring.sift(batch, range(len(batch.records)), attempt)
        scores = done[0][1] if len(done) == 1 else _joined([scores for _, scores in done], detector)
        return Scored(
            batch,
            _without(poisoned, decoded) if poisoned else decoded,
            scores.errors,
            scores.anomalous,
            detector,
            bundle_id,
            self._detector_name,
            self._identify,
        )

    def _identify(self, value: bytes, within: int) -> EventIdentity:
        """What an event says of itself; nothing where that fails: an anomaly is told of even so."""
        try:
            return self._codec.identify(value, within)
        except Exception as error:
            if events := self._unread.count():
                log.error("events could not be read again", events=events, exc_info=error)
            return EventIdentity((None,) * len(self._codec.spec))

    def _score_zeros(self) -> None:
        self._by[0].score(np.zeros((1, len(self._codec.spec)), np.float32))

    def judge(self, scored: Scored) -> Judged:
        """What there is to tell of a micro-batch: alerts and dead letters, rendered.

        Raises:
            RewindError: by a defect, it failed on these records; they are to come again.
            StreamError: it fails whatever the records.
        """
        batch = scored.batch
        if self._apart.is_apart(batch):
            with _named("triage", batch):
                return self._judged(scored, self.triage.apart)
        try:
            judged = self._judged(scored, self.triage.step)
        except (MonitorError, MemoryError):
            raise
        except Exception as error:
            self._apart.failed(batch, error)
        self._apart.passed(len(scored.anomalous))
        return judged

    def _judged(self, scored: Scored, step: Step) -> Judged:
        batch, now_ms = scored.batch, self._now_ms()
        changes, suppressed = step(scored, now_ms)
        outputs, alerts = self._tell(changes, now_ms)
        outputs += [
            self._dead_letter(batch.records[reject.row], reject, now_ms)
            for reject in scored.decoded.rejects
        ]
        if self._journal:
            outputs += self._journal.outputs(scored, now_ms)
        return Judged(outputs, alerts, suppressed)

    def tick(self) -> Judged:
        """What is due although nothing comes: to be called now and then while the input is idle."""
        now_ms = self._now_ms()
        outputs, alerts = self._tell(self.triage.tick(), now_ms)
        return Judged(outputs, alerts)

    def _tell(
        self, changes: Sequence[Change[Detection]], now_ms: int
    ) -> tuple[list[Output], list[Alert]]:
        alerts = self._rendered(changes, now_ms)
        outputs = [Output(self._alert_topic, alert.key, alert.value) for alert in alerts]
        return outputs, alerts

    def _rendered(self, changes: Sequence[Change[Detection]], now_ms: int) -> list[Alert]:
        """Explain and render what became of incidents.

        One on which that fails is told of without what its event says: whoever finds a defect must
        not silence his alerts by it.
        """
        try:
            return [
                render_alert(change, now_ms, features)
                for change, features in zip(changes, self._explain(changes), strict=True)
            ]
        except Exception as error:
            if len(changes) > 1:
                return [alert for one in changes for alert in self._rendered([one], now_ms)]
            if alerts := self._unexplained.count():
                log.error("alerts could not be explained", alerts=alerts, exc_info=error)
            return [render_alert(self._bare(changes[0]), now_ms, ())]

    def _bare(self, change: Change[Detection]) -> Change[Detection]:
        """Without anything that an event says of itself, but for whom it is about."""
        nothing = EventIdentity((None,) * len(self._codec.spec))
        seen = change.incident.seen
        bare = replace(seen, evidence=replace(seen.evidence, event=nothing))
        return replace(change, incident=replace(change.incident, seen=bare))

    def _explain(
        self, changes: Sequence[Change[Detection]]
    ) -> Sequence[Sequence[FeatureDeviation]]:
        """The features that explain the worst vector of each incident, where that is at hand."""
        found = [change.incident.seen.evidence for change in changes]
        vectors = [d.vector for d in found if d.vector is not None]
        observed = [d.event.observed for d in found if d.vector is not None]
        if not vectors:
            return [()] * len(found)
        explained = iter(explain(self._by[0], np.stack(vectors), observed, self._top_features))
        return [() if detection.vector is None else next(explained) for detection in found]

    def _dead_letter(
        self, record: Record, reject: Reject, now_ms: int, max_bytes: int = MAX_DEAD_LETTER_BYTES
    ) -> Output:
        letter = render_dead_letter(
            record, reject.reason, reject.error, now_ms, max_bytes, reject.vectors
        )
        smaller = partial(self._dead_letter, record, reject, now_ms)
        return Output(self._dead_letter_topic, letter.key, letter.value, letter.headers, smaller)


def parts(batch: MicroBatch, ranges: Iterable[tuple[int, int]]) -> Iterator[MicroBatch]:
    """A micro-batch in several, each of a range of its records; together they are all of it."""
    read_to = dict(batch.first_offsets)
    for start, end in ranges:
        records = batch.records[start:end]
        last = {Partition(record.topic, record.partition): record.offset for record in records}
        next_offsets = {where: offset + 1 for where, offset in last.items()}
        first_offsets = {where: read_to[where] for where in last if where in read_to}
        read_to |= next_offsets
        yield MicroBatch(records, next_offsets, batch.epoch, first_offsets)


def _without(poisoned: Sequence[Reject], decoded: Decoded) -> Decoded:
    """What is left of decoded records without some, which are rejects now."""
    if not poisoned:
        return decoded
    rows = decoded.batch.rows
    held = np.bincount(rows, minlength=1 + max(reject.row for reject in poisoned))
    found = [replace(reject, vectors=max(int(held[reject.row]), 1)) for reject in poisoned]
    kept = np.flatnonzero(~np.isin(rows, [reject.row for reject in poisoned]))
    rejects = sorted([*decoded.rejects, *found], key=attrgetter("row"))
    passed_over = dict(decoded.passed_over)
    for reject in poisoned:
        passed_over.pop(reject.row, None)
    return Decoded(decoded.batch.at(kept), rejects, sum(passed_over.values()), passed_over)


def _joined(parts: Sequence[Scores], detector: Detector) -> Scores:
    errors = [np.empty(0, np.float32), *(scores.errors for scores in parts)]
    return Scores(np.concatenate(errors), detector.threshold)


@contextmanager
def _named(what: str, batch: MicroBatch) -> Iterator[None]:
    """Name the records on which something failed that never should."""
    try:
        yield
    except Exception as error:
        raise StreamError(
            f"{what} failed on {describe(batch)} ({type(error).__name__}: {error}); nothing of it "
            "is committed, so it is tried again after a restart."
        ) from error
