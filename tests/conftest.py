"""The brokers that the tests share.

`kafka_broker` is Apache Kafka, or the embedded broker where Kafka cannot be had; the summary says
which. `kafka_server` is an Apache Kafka for one test alone, to be killed and restarted, and
`secured_kafka` one with logins, TLS and ACLs; without Kafka their tests are skipped, in CI failed.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monitor.demo.broker import EmbeddedBroker
from tests.support import kafka_server as apache_kafka
from tests.support import secured
from tests.support.brokers import Broker
from tests.support.kafka_server import KafkaMissingError, KafkaServer

_BROKER_USED = pytest.StashKey[str]()
_WHY_NO_KAFKA = pytest.StashKey[str]()
_TOLD = {"broker": _BROKER_USED, "why no Kafka": _WHY_NO_KAFKA}


@pytest.fixture(scope="session")
def why_no_kafka(pytestconfig: pytest.Config) -> str | None:
    """Why Apache Kafka cannot be had here; None where it can. Not having it fails in CI."""
    try:
        apache_kafka.java()
        used = f"Apache Kafka {apache_kafka.version()}"
    except KafkaMissingError as error:
        if os.environ.get("CI"):
            pytest.fail(f"Apache Kafka must be there in CI: {error}")
        pytestconfig.stash[_WHY_NO_KAFKA] = str(error)
        pytestconfig.stash[_BROKER_USED] = "the embedded broker (Tansu)"
        return str(error)
    pytestconfig.stash[_BROKER_USED] = used
    return None


@pytest.fixture(scope="session")
def kafka_broker(
    why_no_kafka: str | None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Broker]:
    """The broker of the session: use topics and groups with fresh names on it."""
    if why_no_kafka:
        with EmbeddedBroker() as embedded:
            yield Broker("the embedded broker", embedded.bootstrap_servers)
        return
    with KafkaServer(tmp_path_factory.mktemp("kafka")) as server:
        yield Broker("Apache Kafka", server.bootstrap_servers, server=server)


@pytest.fixture(scope="session")
def embedded_broker() -> Iterator[Broker]:
    """The demo's broker."""
    with EmbeddedBroker() as embedded:
        yield Broker("the embedded broker", embedded.bootstrap_servers)


@pytest.fixture
def kafka_server(why_no_kafka: str | None, tmp_path: Path) -> Iterator[KafkaServer]:
    """An Apache Kafka of the test's own, running."""
    if why_no_kafka:
        pytest.skip(f"needs Apache Kafka: {why_no_kafka}")
    with KafkaServer(tmp_path / "kafka") as server:
        yield server


@pytest.fixture(params=["kafka-python", "confluent-kafka"])
def client(request: pytest.FixtureRequest) -> str:
    """The setting kafka.client: what holds for a source or a sink holds with each."""
    return str(request.param)


@pytest.fixture(scope="session")
def secured_kafka(
    why_no_kafka: str | None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KafkaServer]:
    """An Apache Kafka with logins, TLS and ACLs: tests.support.secured logs its users in."""
    if why_no_kafka:
        pytest.skip(f"needs Apache Kafka: {why_no_kafka}")
    with secured.secured_server(tmp_path_factory.mktemp("secured-kafka")) as server:
        yield server


def pytest_sessionfinish(session: pytest.Session) -> None:
    """What `make test` runs in processes of pytest-xdist tells the one that prints the summary."""
    told = getattr(session.config, "workeroutput", None)
    if told is not None:
        told |= {name: session.config.stash.get(key, None) for name, key in _TOLD.items()}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    for name, key in _TOLD.items():
        if value := getattr(node, "workeroutput", {}).get(name):
            node.config.stash[key] = value


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if reason := config.stash.get(_WHY_NO_KAFKA, None):
        terminalreporter.section("NOT TESTED AGAINST APACHE KAFKA", sep="!", red=True, bold=True)
        terminalreporter.line("The embedded broker stood in for it, and tests of failures and")
        terminalreporter.line(f"rights were skipped: {reason}")
    if used := config.stash.get(_BROKER_USED, None):
        terminalreporter.line(f"broker of the integration tests: {used}")
