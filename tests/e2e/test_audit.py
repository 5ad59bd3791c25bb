"""`monitor audit` on what a daemon did."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from monitor.cli import app
from monitor.contracts.dead_letter import DeadLetterHeaders
from monitor.reasons import Reason
from tests.support.brokers import Broker
from tests.support.daemons import Daemon, settings_file
from tests.support.waiting import until

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

NORMAL = {"bytes": 4000, "packets": 8, "rate": 0.8, "protocol": "tcp", "encrypted": True}
ODD = {"bytes": 9e9, "packets": 1, "rate": -5.0, "protocol": "gre", "encrypted": False}


def audit(settings: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["audit", "--config", str(settings), *options])


def test_the_books_of_a_daemon_balance_and_name_what_is_taken_out_of_them(
    kafka_broker: Broker, tmp_path: Path
) -> None:
    topic = kafka_broker.create_topic(partitions=2)
    own_journal = f'state_topic = "{topic}-state"\njournal_topic = "{topic}-journal"'
    settings = settings_file(tmp_path, kafka_broker, topic, kafka=own_journal)
    events = [json.dumps(ODD if n % 100 == 0 else NORMAL).encode() for n in range(500)]
    for partition in (0, 1):
        kafka_broker.produce(topic, *events, b"no vector", b"", partition=partition)
    with Daemon(settings) as daemon:
        daemon.wait_until_ready()
        until(lambda: daemon.vectors() == 1000)
        while_it_runs = audit(settings, "--json")
        assert daemon.terminate() == 0
    assert while_it_runs.exit_code == 0, while_it_runs.output
    told = json.loads(while_it_runs.stdout)
    assert told["balanced"]
    assert sum(account["records"] for account in told["accounts"]) == 1004
    assert sum(account["scored"] for account in told["accounts"]) == 1000
    assert sum(account["letters_found"] for account in told["accounts"]) == 4

    done = audit(settings, "--count")
    assert done.exit_code == 0, done.output
    assert "1,004 records, 1,000 vectors scored; the books balance." in done.output

    kafka_broker.produce(f"{topic}-dead-letters", b"of nobody")
    twice = kafka_broker.consume_all(f"{topic}-alerts")[0]
    kafka_broker.produce(f"{topic}-alerts", twice.value)
    doubled = audit(settings)
    assert doubled.exit_code == 1
    assert "the books do not balance" in doubled.output


def test_the_books_balance_around_a_batch_that_would_fill_the_memory(
    kafka_broker: Broker, tmp_path: Path
) -> None:
    topic = kafka_broker.create_topic()
    own_journal = f'state_topic = "{topic}-state"\njournal_topic = "{topic}-journal"'
    settings = settings_file(tmp_path, kafka_broker, topic, kafka=own_journal)
    vector, bomb = json.dumps(NORMAL).encode(), [b" " * 10_000_000] * 15
    whole = {"compression_type": "zstd", "batch_size": 2**30, "linger_ms": 3000}
    with Daemon(settings) as daemon:
        daemon.wait_until_ready()
        kafka_broker.produce(topic, vector)
        kafka_broker.produce(topic, *bomb, max_request_size=2**30, **whole)
        kafka_broker.produce(topic, vector)
        until(lambda: daemon.vectors() == 2)
        assert daemon.metric("anomaly_monitor_dead_letters_total", reason=Reason.TOO_LARGE) == 15
        assert daemon.terminate() == 0
    letters = kafka_broker.consume_all(f"{topic}-dead-letters", count=15)
    told = [DeadLetterHeaders.from_headers(list(letter.headers)) for letter in letters]
    assert [header.offset for header in told] == [*range(1, 16)]
    assert "more than the 67108864 bytes allowed decompressed" in told[0].error
    done = audit(settings, "--count")
    assert "17 records, 2 vectors scored; the books balance." in done.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--from", "200", "--to", "100"], "--from 200: is not before --to 100"),
        (["--from", "2026-02-01", "--to", "2026-01-01"], "--from 2026-02-01: is not before --to"),
        (["--from", "yesterday"], "--from 'yesterday': expected an offset or a time such as"),
        (["--topic", "missing-topic"], "topic 'missing-topic': does not exist"),
    ],
)
def test_what_cannot_be_told_is_one_sentence(
    kafka_broker: Broker, tmp_path: Path, options: list[str], said: str
) -> None:
    result = audit(settings_file(tmp_path, kafka_broker, "vectors"), *options)
    assert said in str(result.exception)
    assert getattr(result.exception, "exit_code", None) == 2
