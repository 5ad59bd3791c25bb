"""The demo's path in a user's own hands: train, run, replay, SIGTERM in the middle, run again.

Every record of the topic is accounted for, against the same file scored without any stream.
"""

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import numpy as np
import orjson
import pytest

from monitor.bundle import load
from monitor.config_sources import load_settings
from monitor.contracts.dead_letter import DeadLetterHeaders
from monitor.contracts.ocsf import DetectionFinding
from monitor.ingest.files import open_vectors
from tests.support.brokers import Broker
from tests.support.daemons import Daemon, settings_file
from tests.support.labelled import ATTACKS, HEADER, normal_rows
from tests.support.waiting import until

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

SPEC = """
name = "small-world"
identity = { record_id = "uid" }
features = [
    { name = "bytes", kind = "numeric" },
    { name = "packets", kind = "numeric" },
    { name = "rate", kind = "numeric", transform = "linear" },
    { name = "protocol", kind = "categorical" },
    { name = "encrypted", kind = "boolean" },
]
"""
ROWS, RATE, PARTITIONS = 12_000, 3_000, 3
BAD = "many,1,1,tcp,True,normal"
NEAR = 1e-4
"""An error this near to the threshold may fall on either side of it, as batches round."""


@dataclass(frozen=True)
class Outcome:
    """What was there when all was done.

    Attributes:
        uids: of each position of the input topic, its record's id.
        stop_seconds, exit_codes: of the two times that it was told to stop.
        vectors: scored in each of the two lives.
        alerts, dead_letters: the positions that each was about, in order.
    """

    uids: dict[tuple[int, int], str]
    stop_seconds: list[float]
    exit_codes: list[int]
    vectors: list[int]
    alerts: list[tuple[int, int]]
    dead_letters: list[tuple[int, int]]
    committed: dict[int, int]
    end_offsets: dict[int, int]
    expected: "Expected"


@dataclass(frozen=True)
class Expected:
    """What scoring the file without a stream says of its rows, by their ids."""

    anomalous: set[str]
    near: set[str]
    bad: set[str]


def monitor(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "monitor", *arguments]


def write_rows(path: Path, rows: Sequence[str]) -> Path:
    lines = [f"C{n},{row}" for n, row in enumerate(rows)]
    path.write_text("\n".join([f"uid,{HEADER}", *lines]) + "\n")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spec, a bundle that `monitor train` made with it, and a file to replay."""
    folder = tmp_path_factory.mktemp("resume")
    (folder / "spec.toml").write_text(SPEC)
    training = write_rows(folder / "training.csv", [*normal_rows(1500), *ATTACKS])
    command = monitor("train", str(training), "--spec", str(folder / "spec.toml"))
    command += ["-o", str(folder / "bundle"), "--label-column", "label", "--benign", "normal"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stderr
    rows = normal_rows(ROWS, seed=11)
    rows[::200] = [ATTACKS[n % 2] for n in range(len(rows[::200]))]
    rows[77::1000] = [BAD] * len(rows[77::1000])
    write_rows(folder / "replayed.csv", rows)
    return folder


@pytest.fixture(scope="module")
def outcome(folder: Path, kafka_broker: Broker) -> Outcome:
    topic = kafka_broker.create_topic(partitions=PARTITIONS)
    settings = settings_file(folder, kafka_broker, topic, bundle=folder / "bundle")
    command = monitor("replay", str(folder / "replayed.csv"), "--spec", str(folder / "spec.toml"))
    command += ["--topic", topic, "--config", str(settings), "--rate", str(RATE)]
    command += ["--label-column", "label"]
    stop_seconds, exit_codes, vectors = [], [], []

    def stop(daemon: Daemon) -> None:
        started = monotonic()
        exit_codes.append(daemon.terminate(signal.SIGTERM))
        stop_seconds.append(monotonic() - started)
        vectors.append(daemon.event("stopped")["vectors"])

    with Daemon(settings) as daemon:
        daemon.wait_until_ready()
        with subprocess.Popen(command, stderr=subprocess.PIPE) as replay:
            until(lambda: daemon.vectors() > ROWS / 6)
            assert replay.poll() is None, "it is to be told in the middle"
            stop(daemon)
            _, said = replay.communicate(timeout=60)
        assert replay.returncode == 0, said
    end_offsets = kafka_broker.end_offsets(topic)
    group = load_settings(settings).settings.kafka.group_id
    with Daemon(settings) as daemon:
        until(lambda: kafka_broker.committed(group, topic) == end_offsets, 60)
        stop(daemon)
    return Outcome(
        uids={
            (record.partition, record.offset): orjson.loads(record.value)["uid"]
            for record in kafka_broker.consume_all(topic)
        },
        stop_seconds=stop_seconds,
        exit_codes=exit_codes,
        vectors=vectors,
        alerts=[
            (source.partition, source.offset)
            for record in kafka_broker.consume_all(f"{topic}-alerts")
            for source in [DetectionFinding.from_bytes(record.value).unmapped.source]
        ],
        dead_letters=[
            (headers.partition, headers.offset)
            for record in kafka_broker.consume_all(f"{topic}-dead-letters")
            for headers in [DeadLetterHeaders.from_headers(list(record.headers))]
        ],
        committed=kafka_broker.committed(group, topic),
        end_offsets=end_offsets,
        expected=score_offline(folder),
    )


def score_offline(folder: Path) -> Expected:
    detector, manifest = load(folder / "bundle", "cpu")
    anomalous, near, bad = set(), set(), set()
    for block in open_vectors(folder / "replayed.csv", manifest.spec, detector.vocabularies):
        rows, errors = block.decoded.batch.rows, detector.score(block.decoded.batch.values).errors
        anomalous |= {f"C{row}" for row in rows[errors > detector.threshold]}
        near |= {f"C{row}" for row in rows[np.abs(errors - detector.threshold) < NEAR]}
        bad |= {f"C{reject.row}" for reject in block.decoded.rejects}
    return Expected(anomalous, near, bad)


def test_it_stops_in_time_and_without_an_error(outcome: Outcome) -> None:
    assert outcome.exit_codes == [0, 0]
    assert max(outcome.stop_seconds) < 10


def test_every_row_of_the_file_is_in_the_topic_once(outcome: Outcome) -> None:
    assert sorted(outcome.uids.values()) == sorted(f"C{n}" for n in range(ROWS))


def test_everything_is_committed_in_the_end(outcome: Outcome) -> None:
    assert sum(outcome.end_offsets.values()) == ROWS
    assert outcome.committed == outcome.end_offsets


def test_both_lives_together_score_every_vector_once(outcome: Outcome) -> None:
    assert all(count > 0 for count in outcome.vectors)
    assert sum(outcome.vectors) == ROWS - len(outcome.expected.bad)


def test_what_alerts_is_what_the_file_alone_says(outcome: Outcome) -> None:
    alerted = {outcome.uids[position] for position in outcome.alerts}
    expected = outcome.expected
    assert len(expected.anomalous) >= ROWS / 200
    assert alerted ^ expected.anomalous <= expected.near


def test_what_is_no_vector_is_a_dead_letter(outcome: Outcome) -> None:
    assert len(outcome.expected.bad) == ROWS / 1000
    assert {outcome.uids[position] for position in outcome.dead_letters} == outcome.expected.bad


def test_nothing_is_published_twice(outcome: Outcome) -> None:
    for positions in (outcome.alerts, outcome.dead_letters):
        assert max(Counter(positions).values()) == 1
