"""`monitor doctor`: a line for each thing that the daemon needs."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from monitor.cli import app
from tests.support.brokers import Broker, fresh_name
from tests.support.daemons import settings_file

pytestmark = pytest.mark.kafka


def examine(settings: Path) -> tuple[int, dict[str, str]]:
    """The exit code, and each subject's line."""
    result = CliRunner().invoke(app, ["doctor", "--config", str(settings)])
    lines = [line.split(maxsplit=2) for line in result.output.splitlines()]
    return result.exit_code, {subject: f"{mark} {text}" for mark, subject, text in lines}


def test_all_well_is_a_line_each_and_exit_code_0(kafka_broker: Broker, tmp_path: Path) -> None:
    topic = kafka_broker.create_topic()
    code, lines = examine(settings_file(tmp_path, kafka_broker, topic))
    assert code == 0, lines
    assert list(lines) == [
        *("crc32c", "lz4", "snappy", "zstandard", "settings", "device", "bundle", "port", "broker"),
        *("input", "group", "alerts", "letters", "state", "journal", "delivery"),
    ]
    assert all(line.startswith("ok ") for line in lines.values())
    assert "small-world" in lines["bundle"]
    assert "does not exist yet" in lines["alerts"]
    admin = kafka_broker.admin()
    assert f"{topic}-alerts" not in admin.list_topics()
    admin.close()


def test_every_problem_is_shown_at_once_with_what_to_do(
    kafka_broker: Broker, tmp_path: Path
) -> None:
    missing = fresh_name("missing")
    settings = settings_file(
        tmp_path, kafka_broker, missing, bundle=tmp_path / "none", top='device = "cuda:99"'
    )
    code, lines = examine(settings)
    assert code == 2
    assert lines["device"].startswith("problem ")
    assert "monitor train" in lines["bundle"]
    assert f"problem topic '{missing}': does not exist" in lines["input"]
    assert lines["group"].startswith("ok ")


def test_settings_that_cannot_be_read_end_the_examination(tmp_path: Path) -> None:
    code, lines = examine(tmp_path / "none.toml")
    assert code == 2
    assert "cannot be read" in lines["settings"]
    assert "broker" not in lines


def test_another_client_is_looked_for(tmp_path: Path) -> None:
    nowhere = Broker("none", "127.0.0.1:1")
    settings = settings_file(tmp_path, nowhere, "vectors", kafka='client = "confluent-kafka"')
    _, lines = examine(settings)
    assert lines["client"].startswith("ok confluent-kafka with librdkafka")


def test_a_broker_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    nowhere = Broker("none", "127.0.0.1:1")
    code, lines = examine(settings_file(tmp_path, nowhere, "vectors"))
    assert code == 2
    assert "the connection is refused; is it running and reachable?" in lines["broker"]
    assert "input" not in lines
