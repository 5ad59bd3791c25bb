"""The short form of `make chaos`: the faults that have found most, a few times each."""

from pathlib import Path

import pytest

from tests.chaos.faults import FAULTS
from tests.chaos.proxy import Proxy
from tests.chaos.run import run
from tests.chaos.scene import World
from tests.support.brokers import Broker

pytestmark = [pytest.mark.kafka, pytest.mark.e2e]

SEED = 6


@pytest.mark.parametrize(("name", "times"), [("kill", 2), ("freeze", 1)])
def test_nothing_is_lost_and_nothing_is_double(
    kafka_broker: Broker, tmp_path: Path, name: str, times: int
) -> None:
    if kafka_broker.server is None:
        pytest.skip("needs Apache Kafka: the embedded broker isolates no transactions")
    world = World(kafka_broker.server, Proxy(), tmp_path, SEED, delivery="exactly_once")
    fault = FAULTS[name]()
    outcome = run(world, fault, times)
    assert outcome.times == times
    assert not outcome.problems
