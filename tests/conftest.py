"""The brokers that the tests share.

`kafka_broker` is Apache Kafka, or the embedded broker where Kafka cannot be had; the summary says
which. `kafka_server` is an Apache Kafka for one test alone, to be killed and restarted.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.demo.broker import EmbeddedBroker
from tests.support import secured
from tests.support.brokers import Broker
from tests.support.kafka_server import KafkaMissingError, KafkaServer, version

_BROKER_USED = pytest.StashKey[str]()
_WHY_NO_KAFKA = pytest.StashKey[str]()


@pytest.fixture(scope="session")
def kafka_broker(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[Broker]:
    """The broker of the session: use topics and groups with fresh names on it."""
    try:
        server = KafkaServer(tmp_path_factory.mktemp("kafka"))
    except KafkaMissingError as reason:
        if os.environ.get("CI"):
            pytest.fail(f"Apache Kafka must be there in CI: {reason}")
        pytestconfig.stash[_WHY_NO_KAFKA] = str(reason)
        yield from _embedded(pytestconfig)
        return
    pytestconfig.stash[_BROKER_USED] = f"Apache Kafka {version()}"
    with server:
        yield Broker(f"Apache Kafka {version()}", server.bootstrap_servers, server=server)


@pytest.fixture(scope="session")
def embedded_broker() -> Iterator[Broker]:
    """The demo's broker."""
    with EmbeddedBroker() as embedded:
        yield Broker("the embedded broker", embedded.bootstrap_servers)


@pytest.fixture
def kafka_server(tmp_path: Path) -> Iterator[KafkaServer]:
    """An Apache Kafka of the test's own, running."""
    with _or_skip(tmp_path / "kafka") as server:
        yield server


@pytest.fixture(scope="session")
def secured_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """An Apache Kafka with logins, TLS and ACLs: see tests.support.secured for its users."""
    try:
        server = secured.secured_server(tmp_path_factory.mktemp("secured-kafka"))
    except KafkaMissingError as reason:
        pytest.skip(f"needs Apache Kafka: {reason}")
    with server:
        yield server


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if reason := config.stash.get(_WHY_NO_KAFKA, None):
        terminalreporter.section("NOT TESTED AGAINST APACHE KAFKA", sep="!", red=True, bold=True)
        terminalreporter.line("The embedded broker stood in for it, and tests of failures and")
        terminalreporter.line(f"rights were skipped: {reason}")
    if used := config.stash.get(_BROKER_USED, None):
        terminalreporter.line(f"broker of the integration tests: {used}")


def _embedded(config: pytest.Config) -> Iterator[Broker]:
    config.stash[_BROKER_USED] = "the embedded broker (Tansu)"
    with EmbeddedBroker() as embedded:
        yield Broker("the embedded broker", embedded.bootstrap_servers)


def _or_skip(folder: Path) -> KafkaServer:
    try:
        return KafkaServer(folder)
    except KafkaMissingError as reason:
        pytest.skip(f"needs Apache Kafka: {reason}")
