"""The short form of `make chaos`: a kill and a zombie at once, which have found most."""

from pathlib import Path

import pytest

from tests.chaos.faults import FAULTS
from tests.chaos.proxy import Proxy
from tests.chaos.run import run
from tests.chaos.scene import World
from tests.support.brokers import Broker

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

SEED = 6


def test_one_daemon_is_killed_while_another_sleeps_and_nothing_is_lost_or_double(
    kafka_broker: Broker, tmp_path: Path
) -> None:
    if kafka_broker.server is None:
        pytest.skip("needs Apache Kafka: the embedded broker does not isolate what is aborted")
    world = World(kafka_broker.server, Proxy(), tmp_path, SEED, delivery="exactly_once")
    outcome = run(world, FAULTS["mayhem"](), times=1)
    assert outcome.records > 0
    assert not outcome.problems
