"""The HTTP port and the logs."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from monitor.config import TelemetrySettings
from monitor.errors import PortError
from monitor.telemetry.health import Health
from monitor.telemetry.http import TelemetryServer
from monitor.telemetry.metrics import Metrics


@pytest.fixture
def health() -> Health:
    return Health("bundle", "broker")


@pytest.fixture
def server(health: Health) -> Iterator[TelemetryServer]:
    server = TelemetryServer(TelemetrySettings(port=0), Metrics().registry, health)
    server.start()
    yield server
    server.close()


def get(url: str, **headers: str) -> tuple[int, str, str]:
    try:
        with urlopen(Request(url, headers=headers), timeout=5) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except HTTPError as answer:
        return answer.code, answer.headers["Content-Type"], answer.read().decode()


def test_ready_is_503_with_what_is_wrong_until_every_part_is_in_order(
    server: TelemetryServer, health: Health
) -> None:
    health.ok("bundle")
    health.problem("broker", "127.0.0.1:9092 refuses the connection")
    status, _, body = get(f"{server.url}/readyz")
    assert status == 503
    assert json.loads(body) == {
        "ready": False,
        "parts": {"bundle": "ok", "broker": "127.0.0.1:9092 refuses the connection"},
    }
    health.ok("broker")
    assert get(f"{server.url}/readyz")[0] == 200
    assert get(f"{server.url}/healthz")[0] == 200


def test_metrics_are_served_in_both_formats(server: TelemetryServer) -> None:
    status, kind, body = get(f"{server.url}/metrics")
    assert status == 200
    assert kind.startswith("text/plain")
    assert 'anomaly_monitor_vectors_total{outcome="scored"} 0.0' in body
    assert "_created" not in body
    _, kind, body = get(f"{server.url}/metrics", Accept="application/openmetrics-text")
    assert kind.startswith("application/openmetrics-text")
    assert body.endswith("# EOF\n")


def test_other_paths_are_not_found(server: TelemetryServer) -> None:
    assert get(f"{server.url}/etc/passwd")[0] == 404


def test_a_client_that_says_nothing_holds_up_no_other(server: TelemetryServer) -> None:
    port = int(server.url.rpartition(":")[2])
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    try:
        assert get(f"{server.url}/healthz")[0] == 200
    finally:
        for connection in silent:
            connection.close()


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortError) as caught:
            TelemetryServer(TelemetrySettings(port=port), Metrics().registry, Health())
    assert f"127.0.0.1:{port} cannot be listened on (Address already in use)" in str(caught.value)
    assert caught.value.exit_code == 2


LOGGING = """
import logging, structlog
from monitor.config import LogSettings
from monitor.telemetry.logs import configure_logs
configure_logs(LogSettings(**{settings}))
structlog.get_logger("monitor.stream").info("ready", broker="b:9092")
structlog.get_logger("monitor.stream").debug("details")
logging.getLogger("kafka.net").error("Connection failed: again")
try:
    raise RuntimeError("a defect")
except RuntimeError:
    logging.getLogger("kafka.net").exception("Unhandled exception in task")
logging.getLogger("other").warning("from a library")
logging.getLogger("communityid").info("| seed 00:00, source 10.0.0.1")
"""


def logged(**settings: str) -> list[str]:
    code = LOGGING.replace("{settings}", repr(settings))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_without_a_terminal_each_event_is_a_json_object() -> None:
    events = [json.loads(line) for line in logged()]
    assert [event["event"] for event in events] == [
        "ready",
        "Unhandled exception in task",
        "from a library",
    ]
    assert events[0]["broker"] == "b:9092"
    assert events[0]["level"] == "info"
    assert events[0]["timestamp"].endswith("Z")
    assert "RuntimeError: a defect" in events[1]["exception"]


def test_for_people_an_event_is_a_line() -> None:
    first = logged(format="human")[0]
    assert "ready" in first
    assert "broker=b:9092" in first


def test_debugging_shows_what_the_kafka_client_says() -> None:
    assert any("Connection failed: again" in line for line in logged(level="debug"))
