"""A process that judges micro-batches and keeps state, without Kafka: to be ended and begun anew.

topic = KeptTopic()
life = Life(topic, [Partition("vectors", 0)])
told = life.step([Seen("10.0.0.5", anomalous=True)], event_ms=START_MS)
life = Life(topic, [Partition("vectors", 0)])      # goes on where that was
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import count

import numpy as np

from monitor.batch import Decoded, EventIdentity, MicroBatch, Origins, Partition, VectorBatch
from monitor.config import IncidentSettings, KafkaSettings, SpikeSettings
from monitor.contracts.detection import Detection
from monitor.contracts.manifest import Manifest
from monitor.detect.detector import Detector
from monitor.detect.incidents import Change
from monitor.detect.spikes import SpikeOptions, Spikes
from monitor.stream.contracts import Output
from monitor.stream.state import StateStore
from monitor.stream.state_topic import StateTopic
from monitor.stream.suppress import Suppressions
from monitor.stream.triage import Scored, build_triage
from monitor.stream.tuning import Tuning
from monitor.telemetry.metrics import Metrics
from tests.support.detectors import HASTY, fit_small

START_MS = 1_789_000_000_000
NOW_MS = START_MS + 500_000_000
KAFKA = KafkaSettings(bootstrap_servers="127.0.0.1:9092", input_topics=("vectors",))
OBSERVED = (1e9, 1, -5.0, "gre", False)


@cache
def detector() -> Detector:
    return fit_small(HASTY).detector


@dataclass(frozen=True)
class Record:
    """A Kafka record."""

    partition: int
    offset: int
    topic: str = "vectors"
    timestamp: int = -1
    key: bytes | None = None
    value: bytes | None = b""
    headers: list[tuple[str, bytes]] = field(default_factory=list)


@dataclass(frozen=True)
class Seen:
    """A vector: whose it is, where it came, whether it is anomalous, and how much."""

    entity: str
    partition: int = 0
    anomalous: bool = True
    error: float = 9.0


class KeptTopic:
    """A topic in memory, which holds every record or, compacted, the newest of each key."""

    def __init__(self, compacted: bool = True, partitions: int = 2) -> None:
        self.records: list[Record] = []
        self._compacted, self._partitions = compacted, partitions

    def write(self, outputs: Iterable[Output]) -> None:
        for output in outputs:
            if self._compacted:
                self.records = [r for r in self.records if r.key != output.key]
            place = {"key": output.key, "value": output.value, "topic": output.topic}
            assert output.partition is not None
            self.records.append(Record(output.partition, len(self.records), **place))

    def read(self, _: str, numbers: Collection[int]) -> tuple[int, Sequence[Record]]:
        wanted = {number % self._partitions for number in numbers}
        return self._partitions, [r for r in self.records if r.partition in wanted]


class Life:
    """One process, from its start on: it owns some partitions and has loaded their state."""

    _monotonic = count(1000, 77_000)

    def __init__(
        self,
        topic: KeptTopic,
        partitions: Collection[Partition] = (Partition("vectors", 0),),
        incidents: IncidentSettings | None = None,
        spikes: SpikeSettings | None = None,
        levels: SpikeOptions | None = None,
        metrics: Metrics | None = None,
        kafka: KafkaSettings = KAFKA,
        **manifest: str,
    ) -> None:
        self.topic, self.metrics = topic, metrics or Metrics()
        self.wall_s = float(next(self._monotonic))
        self.triage = build_triage(
            incidents or IncidentSettings(),
            spikes or SpikeSettings(max_entities=0 if levels else 50_000),
            Suppressions([], NOW_MS),
            ["vectors"],
            lambda: self.wall_s,
        )
        if levels:
            self.triage.spikes = Spikes(levels)
        told = {"spec_sha256": "spec", "weights_sha256": "weights", **manifest}
        self.tuning = Tuning(detector(), self.metrics)
        self.store = StateStore(
            StateTopic(kafka, topic.read),
            Manifest.model_construct(**told),
            self.triage,
            self.tuning,
            self.metrics,
        )
        self.own(partitions)

    def own(self, partitions: Collection[Partition]) -> None:
        """Begin with these partitions and no others."""
        self.store.forget()
        self.store.load(partitions)

    def step(
        self, seen: Sequence[Seen], event_ms: int | None, offset: int = 0, commits: bool = True
    ) -> list[Change[Detection]]:
        """Judge a micro-batch; its state is written, unless the commit fails."""
        scored = scored_of(seen, event_ms, offset)
        changes, _ = self.triage.step(scored, NOW_MS)
        outputs = self.store.outputs(scored.batch)
        if commits:
            self.topic.write(outputs)
        return changes

    def tick(self) -> list[Change[Detection]]:
        """Nothing comes."""
        changes = self.triage.tick()
        self.topic.write(self.store.outputs(MicroBatch((), {})))
        return changes


def scored_of(seen: Sequence[Seen], event_ms: int | None, offset: int = 0) -> Scored:
    """A micro-batch of these vectors, all at one time."""
    names = list(dict.fromkeys(s.entity for s in seen))
    records = [Record(s.partition, offset + n, value=s.entity.encode()) for n, s in enumerate(seen)]
    anomalous = np.array([s.anomalous for s in seen], bool)
    codes = np.array([names.index(s.entity) for s in seen], np.int32)
    values = np.zeros((len(seen), len(detector().spec)), np.float32)
    origins = Origins(codes, names, [event_ms] * len(seen))

    def identify(value: bytes, _: int) -> EventIdentity:
        return EventIdentity(OBSERVED, "C1", event_ms, source_address=value.decode())

    return Scored(
        MicroBatch(records, {Partition(r.topic, r.partition): r.offset + 1 for r in records}),
        Decoded(VectorBatch(values, np.arange(len(seen), dtype=np.int64), origins)),
        np.where(anomalous, [s.error for s in seen], 0.1).astype(np.float32),
        np.flatnonzero(anomalous),
        detector(),
        "b" * 16,
        "dense network",
        identify,
    )
