"""Floods of anomalous vectors, from few hosts and from invented ones, through the pipeline alone.

NSL-KDD names no hosts: its anomalous test vectors are given a source and a time here.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import cycle, islice
from pathlib import Path
from time import monotonic

import numpy as np

from monitor.batch import MicroBatch, Origins
from monitor.bench.bench import Bench
from monitor.bench.figures import Figure, Goal
from monitor.bench.processes import apart
from monitor.bundle import load
from monitor.config import IncidentSettings, SpikeSettings
from monitor.contracts.alert import Alert
from monitor.contracts.ocsf import DetectionFinding
from monitor.demo.run import LABEL_COLUMN, TEST
from monitor.detect.spikes import SpikeOptions, Spikes
from monitor.detect.stream_clock import StreamClock
from monitor.features import Identity
from monitor.ingest.json_codec import JsonCodec
from monitor.ingest.replay import vector_records
from monitor.stream.pipeline import Pipeline
from monitor.stream.suppress import Suppressions
from monitor.stream.triage import build_triage

NOW_MS, BATCH, MINUTES = 1_790_000_000_000, 4096, 10
FLOOD, OTHERS, ENTITIES = 1_000_000, 100_000, 10_000_000
IDENTITY = Identity(source_address="source", destination_address="target", event_time="time")


@dataclass(frozen=True, slots=True)
class Record:
    """A Kafka record that never was in Kafka."""

    value: bytes
    offset: int
    topic: str = "vectors"
    partition: int = 0
    timestamp: int = NOW_MS
    key: bytes | None = None
    headers: tuple[()] = ()


def run(bench: Bench) -> Iterator[Figure]:
    detector, _ = load(bench.nsl_kdd.bundle, "cpu")
    spec = detector.spec.model_copy(update={"identity": IDENTITY})
    codec = JsonCodec(spec, detector.vocabularies, read_origins=True)
    records = list(vector_records(TEST, detector.spec, LABEL_COLUMN))
    errors = detector.score(codec.decode(records).batch.values).errors
    worst = [records[n] for n in np.flatnonzero(errors > 1.01 * detector.threshold)]

    def through(
        name: str, records: list[bytes], vectors: int, host: Callable[[int], str]
    ) -> tuple[Figure, list[Alert]]:
        bench.say(f"{vectors:,} vectors of {name}")
        triage = build_triage(
            IncidentSettings(), SpikeSettings(), Suppressions([], NOW_MS), ["vectors"]
        )
        pipeline = Pipeline(
            codec, detector, "bundle", "detector", "alerts", "letters", 5, lambda: NOW_MS, triage
        )
        alerts, seconds, scored = [], 0.0, 0
        flood = _dressed(records, vectors, host)
        while taken := list(islice(flood, BATCH)):
            batch, started = MicroBatch(taken, {}), monotonic()
            found = pipeline.score(batch, pipeline.decode(batch))
            judged = pipeline.judge(found)
            seconds += monotonic() - started
            alerts += judged.alerts
            scored += len(found.anomalous)
        note = f"without Kafka; {scored:,} anomalous vectors, {len(alerts)} alerts"
        return Figure(f"{name}: pipeline", "vectors/s", vectors / seconds, note=note), alerts

    yield through(
        "benign traffic", [*bench.nsl_kdd.records], OTHERS, lambda n: f"10.0.0.{n % 250}"
    )[0]
    figure, alerts = through("a flood from 10 hosts", worst, FLOOD, lambda n: f"10.0.0.{n % 10}")
    yield figure
    findings = [DetectionFinding.from_bytes(alert.value) for alert in alerts]
    told = Counter((finding.activity_name, finding.finding_info.uid) for finding in findings)
    creates = sum(activity == "Create" for activity, _ in told)
    updates = max(
        (count for (activity, _), count in told.items() if activity == "Update"), default=0
    )
    yield Figure("a flood from 10 hosts: Create", "alerts", creates, Goal("<", 11))
    yield Figure(
        "a flood from 10 hosts: Update of one incident",
        "a minute",
        updates / MINUTES,
        Goal("<", 2.01),
        f"{FLOOD:,} vectors in {MINUTES} minutes of event time",
    )
    yield through("invented hosts", worst, OTHERS, lambda n: str(ip_address(0x0A000000 + n)))[0]
    seconds, grown_mb = apart(watch_invented_entities, ENTITIES).result()
    note = f"in {seconds:.0f} s; {SpikeOptions().max_entities:,} of them are held"
    yield Figure(f"levels of {ENTITIES:,} entities: memory", "MB", grown_mb, Goal("<", 100), note)


def _dressed(records: list[bytes], vectors: int, host: Callable[[int], str]) -> Iterator[Record]:
    start_s, step_s = NOW_MS / 1000 - MINUTES * 60, MINUTES * 60 / vectors
    for n, record in enumerate(islice(cycle(records), vectors)):
        who = json.dumps({"source": host(n), "target": "10.9.9.9", "time": start_s + n * step_s})
        yield Record(record[:-1] + b"," + who[1:].encode(), n)


def watch_invented_entities(entities: int) -> tuple[float, float]:
    """Seconds, and megabytes that it takes, to watch the level of so many, seen once each."""
    before, started = _resident_mb(), monotonic()
    spikes, codes = Spikes(SpikeOptions()), np.arange(BATCH, dtype=np.int32)
    errors, anomalous = np.ones(BATCH, np.float32), np.zeros(BATCH, bool)
    for batch in range(entities // BATCH):
        names = [f"10.{batch}.{n}" for n in range(BATCH)]
        clock = StreamClock(batch * 50, NOW_MS + batch * 50)
        spikes.step(errors, anomalous, Origins(codes, names, [None] * BATCH), clock)
        spikes.entities.export()  # as after each micro-batch
    return monotonic() - started, _resident_mb() - before


def _resident_mb() -> float:
    status = Path("/proc/self/status").read_text()
    [kilobytes] = re.findall(r"VmRSS:\s+(\d+)", status)
    return int(kilobytes) / 1024
