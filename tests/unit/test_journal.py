"""The journal tells of every offset once, by partition."""

import json
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.batch import Decoded, MicroBatch, Partition, Record, Reject, VectorBatch
from monitor.config import IncidentSettings, SpikeSettings
from monitor.contracts.journal import JournalEntry
from monitor.detect.detector import Detector
from monitor.reasons import Reason
from monitor.stream.backlog import Backlog
from monitor.stream.journal import Journal
from monitor.stream.ledger import Ledger
from monitor.stream.pipeline import parts
from monitor.stream.triage import Scored
from tests.support.detectors import fit_small
from tests.unit.test_pipeline import pipeline_of

NOW_MS = 1_790_000_000_000
GOOD = {"bytes": 4000, "packets": 8, "rate": 0.8, "protocol": "tcp", "encrypted": True}


@dataclass(frozen=True)
class Kafka:
    """A Kafka record."""

    offset: int
    topic: str = "vectors"
    partition: int = 0
    value: bytes | None = b"{}"
    timestamp: int = NOW_MS
    key: bytes | None = None
    headers: list[tuple[str, bytes]] = field(default_factory=list)


def scored_of(batch: MicroBatch, decoded: Decoded, anomalous: list[int]) -> Scored:
    errors = np.zeros(len(decoded.batch), np.float32)
    found = np.array(anomalous, np.int64)
    return Scored(batch, decoded, errors, found, None, "bundle", "dense", None)  # type: ignore[arg-type]


def entries(scored: Scored) -> dict[Partition, JournalEntry]:
    outputs = Journal("journal", "group", "member").outputs(scored, NOW_MS)
    read = [JournalEntry.model_validate_json(output.value or b"") for output in outputs]
    assert {output.topic for output in outputs} == {"journal"}
    assert len({output.key for output in outputs}) == len(outputs)
    return {Partition(entry.topic, entry.partition): entry for entry in read}


def vectors(*rows: int) -> VectorBatch:
    return VectorBatch(np.zeros((len(rows), 1), np.float32), np.array(rows, np.int64))


def test_each_partition_is_told_what_became_of_its_records() -> None:
    a, b = Partition("vectors", 0), Partition("vectors", 7)
    records: list[Record] = [
        *(Kafka(offset, partition=0) for offset in (10, 11, 14)),
        *(Kafka(offset, partition=7) for offset in (500, 501)),
    ]
    batch = MicroBatch(records, {a: 15, b: 502}, 0, {a: 8, b: 500})
    # The record at 10 holds three vectors, one of them not selected; 501 claims to hold fifty.
    decoded = Decoded(vectors(0, 0, 1, 3), [Reject(4, Reason.WRONG_TYPE, "", 50)], 2, {0: 1, 2: 1})
    told = entries(scored_of(batch, decoded, [1, 3]))
    assert told[a] == JournalEntry(
        **{"group": "group", "topic": "vectors", "partition": 0},
        **{"first_offset": 8, "next_offset": 15, "records": 3, "records_dead_lettered": 0},
        **{"scored": 3, "vectors_dead_lettered": 0, "not_selected": 2, "anomalous": 1},
        **{"time_ms": NOW_MS},
        **{"member": "member", "bundle_id": "bundle", "version": told[a].version},
    )
    assert (told[b].records, told[b].scored) == (2, 1)
    assert (told[b].records_dead_lettered, told[b].vectors_dead_lettered) == (1, 50)
    assert (told[b].first_offset, told[b].next_offset, told[b].anomalous) == (500, 502, 1)


def test_partitions_of_several_topics_are_kept_apart() -> None:
    records: list[Record] = [Kafka(5, "a", 1), Kafka(9, "b", 1), Kafka(6, "a", 1)]
    batch = MicroBatch(records, {Partition("b", 1): 10, Partition("a", 1): 7})
    told = entries(scored_of(batch, Decoded(vectors(0, 1, 2)), []))
    assert (told[Partition("a", 1)].records, told[Partition("b", 1)].records) == (2, 1)
    assert told[Partition("a", 1)].first_offset == 5, "what is not said is the first record's"


def test_a_reader_passes_over_fields_that_a_newer_version_adds() -> None:
    batch = MicroBatch([Kafka(5)], {Partition("vectors", 0): 6})
    [output] = Journal("j", "g", "m").outputs(scored_of(batch, Decoded(vectors(0)), []), NOW_MS)
    newer = json.loads(output.value or b"") | {"added": 1}
    assert JournalEntry.model_validate(newer).records == 1


POLLS = st.lists(
    st.tuples(st.integers(0, 2), st.lists(st.integers(1, 4), min_size=1, max_size=6)),
    min_size=1,
    max_size=12,
)


@given(POLLS, st.lists(st.integers(1, 3)))
def test_entries_tile_the_offsets_whatever_holes_the_topic_has(
    polls: list[tuple[int, list[int]]], cuts: list[int]
) -> None:
    """Steps of more than one are offsets without a record; micro-batches may be cut to pieces."""
    ledger = Ledger()
    ledger.assign(Partition("vectors", n) for n in range(3))
    backlog = Backlog(ledger, 100, max_records=1000, max_bytes=1 << 20)
    backlog.go_on_from({Partition("vectors", 0): 0})
    ends = [0, 100, 200]
    total = 0
    for number, steps in polls:
        at = ends[number] + np.cumsum(steps) - 1
        ends[number] = int(at[-1]) + 1
        total += len(at)
        backlog.add(
            {Partition("vectors", number): [Kafka(n, partition=number) for n in at.tolist()]}
        )
        backlog.seal()
    told: dict[Partition, list[JournalEntry]] = {}
    while batch := backlog.take(0):
        edges = [0, *np.cumsum(cuts).tolist()]
        edges = [edge for edge in edges if edge < len(batch.records)] + [len(batch.records)]
        for piece in parts(batch, pairwise(edges)):
            decoded = Decoded(vectors(*range(len(piece.records))))
            for partition, entry in entries(scored_of(piece, decoded, [])).items():
                told.setdefault(partition, []).append(entry)
    for partition, tiles in told.items():
        assert all(a.next_offset == b.first_offset for a, b in pairwise(tiles))
        assert tiles[-1].next_offset == ends[partition.partition]
    if Partition("vectors", 0) in told:
        assert told[Partition("vectors", 0)][0].first_offset == 0
    assert sum(tile.records for tiles in told.values() for tile in tiles) == total


@pytest.fixture(scope="module")
def detector() -> Detector:
    return fit_small().detector


def test_the_pipeline_writes_it_after_what_it_tells_of(detector: Detector) -> None:
    pipeline = pipeline_of(
        detector,
        IncidentSettings(),
        spikes=SpikeSettings(),
        journal=Journal("journal", "group", "member"),
    )
    records: list[Record] = [
        Kafka(n, value=value) for n, value in enumerate([json.dumps(GOOD).encode(), None])
    ]
    batch = MicroBatch(records, {Partition("vectors", 0): 2})
    judged = pipeline.judge(pipeline.score(batch, pipeline.decode(batch)))
    assert [output.topic for output in judged.outputs] == ["dead-letters", "journal"]
    entry = JournalEntry.model_validate_json(judged.outputs[-1].value or b"")
    assert (entry.scored, entry.records_dead_lettered, entry.bundle_id) == (1, 1, "b" * 16)
