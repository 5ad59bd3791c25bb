"""The daemon on a topic of records that hold many vectors, beside some that hold one."""

from pathlib import Path
from typing import Any

import pytest

from monitor.contracts.dead_letter import DeadLetterHeaders
from monitor.contracts.ocsf import DetectionFinding
from monitor.reasons import Reason
from tests.support.brokers import Broker
from tests.support.daemons import Daemon, settings_file
from tests.support.detectors import SPEC
from tests.support.formats import arrow_record, json_records
from tests.support.waiting import until

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

NORMAL = {"bytes": 4000.0, "packets": 8, "rate": 0.8, "protocol": "tcp", "encrypted": True}
ODD = {"bytes": 9e9, "packets": 1, "rate": -5.0, "protocol": "gre", "encrypted": False}


def row(number: int, **changes: Any) -> dict[str, Any]:
    values = ODD if number % 50 == 7 else NORMAL
    return {**values, "uid": f"C{number}", "src": f"10.0.0.{number % 99}", **changes}


def test_arrow_in_alerts_with_the_place_in_the_record_out(
    kafka_broker: Broker, tmp_path: Path
) -> None:
    topic = kafka_broker.create_topic()
    rows = [row(n) for n in range(200)]
    [whole] = arrow_record(SPEC, rows[:100])
    [broken] = arrow_record(SPEC, [*rows[:20], row(20, bytes=float("nan"))])
    settings = settings_file(tmp_path, kafka_broker, topic)
    with Daemon(settings) as daemon:
        daemon.wait_until_ready()
        kafka_broker.produce(topic, whole, *json_records(SPEC, rows[100:]), broken, whole[:-50])
        until(lambda: daemon.vectors() == 200)
        until(lambda: daemon.lag == 0)
        assert daemon.metric("anomaly_monitor_vectors_total", outcome="dead_letter") == 21 + 100
        records = kafka_broker.consume_all(f"{topic}-alerts", count=4)
        letters = kafka_broker.consume_all(f"{topic}-dead-letters", count=2)
        assert daemon.terminate() == 0
    alerts = [DetectionFinding.from_bytes(record.value).unmapped for record in records]
    found = {alert.record_id: (alert.source.offset, alert.source.within) for alert in alerts}
    assert found == {"C7": (0, 7), "C57": (0, 57), "C107": (8, None), "C157": (58, None)}
    headers = [DeadLetterHeaders.from_headers(letter.headers) for letter in letters]
    assert [(h.reason, h.vectors) for h in headers] == [
        (Reason.NOT_FINITE, 21),
        (Reason.MALFORMED_ARROW, 100),
    ]
    assert "row 21 of 21: 'bytes'" in headers[0].error
    assert [letter.value for letter in letters] == [broken, whole[:-50]]
