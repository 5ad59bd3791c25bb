"""A few thousand nearly right inputs for each decoder and parser; `make fuzz` tries millions."""

from random import Random
from time import process_time

import pytest

from tests.fuzz.targets import TARGETS

INPUTS = 2_000
SLOWEST_SECONDS = 1.0


@pytest.mark.parametrize("name", TARGETS)
def test_every_input_is_accounted_for(name: str) -> None:
    target, random, slowest_s = TARGETS[name](), Random(name), 0.0
    made = (target.mutated(random) for _ in range(int(INPUTS * target.share)))
    for value in (*target.seeds, *made):
        started = process_time()
        target.take(value)
        slowest_s = max(slowest_s, process_time() - started)
    assert slowest_s < SLOWEST_SECONDS
