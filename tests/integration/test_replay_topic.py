"""`monitor replay` puts a file into a topic, or says why not."""

import json
import re
import socket
import subprocess
import sys
from pathlib import Path
from time import monotonic

import pyarrow as pa
import pytest

from tests.support.brokers import Broker

pytestmark = pytest.mark.kafka
TEXT = "bytes,proto,Label\n10,tcp,ok\nNaN,udp,ok\n30,udp,bad\n"
SPEC = """
name = "flows"
features = [{ name = "bytes", kind = "numeric" }, { name = "proto", kind = "categorical" }]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "flows.csv").write_text(TEXT)
    (tmp_path / "spec.toml").write_text(SPEC)
    return tmp_path / "flows.csv"


def replay(file: Path, *options: str) -> subprocess.CompletedProcess[str]:
    spec = file.with_name("spec.toml")
    command = [sys.executable, "-m", "monitor", "replay", str(file), "--spec", str(spec), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_all_rows_are_in_the_topic_when_the_command_ends(kafka_broker: Broker, file: Path):
    topic = kafka_broker.create_topic()
    options = ("--topic", topic, "--bootstrap-servers", kafka_broker.bootstrap_servers)
    done = replay(file, *options, "--label-column", "Label", "--rate", "100")
    assert done.returncode == 0, done.stderr
    assert f"3 rows are in topic {topic}" in done.stderr
    values = [record.value or b"" for record in kafka_broker.consume_all(topic)]
    assert b'"bytes":NaN' in values[1], "what is no vector is for the daemon to refuse"
    assert [json.loads(value) for value in (values[0], values[2])] == [
        {"bytes": 10, "proto": "tcp"},
        {"bytes": 30, "proto": "udp"},
    ]


def test_rows_are_packed_as_a_producer_of_volume_would(kafka_broker: Broker, file: Path):
    topic = kafka_broker.create_topic()
    options = ("--topic", topic, "--bootstrap-servers", kafka_broker.bootstrap_servers)
    done = replay(file, *options, "--format", "arrow", "--batch", "1000")
    assert done.returncode == 0, done.stderr
    assert f"3 rows are in topic {topic}" in done.stderr
    values = {record.value or b"" for record in kafka_broker.consume_all(topic)}
    [arrow] = [value for value in values if not value.startswith(b"{")]
    assert pa.ipc.open_stream(arrow).read_all().to_pydict() == {
        "bytes": [10, 30],
        "proto": ["tcp", "udp"],
    }
    assert len(values) == 2, "what is no vector goes by itself"


def test_json_holds_one_row_a_record(file: Path):
    done = replay(file, "--topic", "t", "--batch", "2")
    assert done.returncode == 2
    assert "--batch 2: json holds one row a record; add --format arrow." in done.stderr


def test_a_limit_ends_it_early(kafka_broker: Broker, file: Path):
    topic = kafka_broker.create_topic()
    options = ("--topic", topic, "--bootstrap-servers", kafka_broker.bootstrap_servers)
    assert replay(file, *options, "--limit", "2").returncode == 0
    assert len(list(kafka_broker.consume_all(topic))) == 2


def test_a_broker_that_is_away_is_said_after_a_bounded_wait(file: Path):
    with socket.socket() as nobody_listens:
        nobody_listens.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody_listens.getsockname()[1]}"
        started = monotonic()
        done = replay(file, "--topic", "flows", "--bootstrap-servers", address)
    assert monotonic() - started < 30
    assert done.returncode == 2
    [sentence] = re.findall(r"^error: .*", done.stderr, re.MULTILINE)
    assert address in sentence
    assert "no broker answers" in sentence
    assert "Traceback" not in done.stderr


def test_a_rate_of_nothing_is_refused(file: Path):
    done = replay(file, "--topic", "flows", "--rate", "0")
    assert done.returncode == 2
    assert "--rate 0: expected" in done.stderr
