"""How serious an incident is: by how rare, how many and how long."""

from monitor.contracts.ocsf import Severity

RARER_BY = (10, 100, 1000)
"""A step up where the rarest vector is so many times rarer than the false-alarm budget."""
MORE_VECTORS = (100, 1000, 10_000)
"""A step up at so many anomalous vectors."""
LONGER_MS = (600_000,)
"""A step up after ten minutes."""
STEPS = tuple(Severity)


def severity_of(
    tail_probability: float,
    false_alarm_rate: float,
    vectors: int = 1,
    span_ms: int = 0,
    spike: bool = False,
) -> Severity:
    """Low, and a step up for each mark that is reached; a level that jumped is one more.

    It measures how unusual the traffic is, not what damage it can do.
    """
    steps = (
        sum(tail_probability <= false_alarm_rate / factor for factor in RARER_BY)
        + sum(vectors >= mark for mark in MORE_VECTORS)
        + sum(span_ms >= mark for mark in LONGER_MS)
        + spike
    )
    return STEPS[min(steps, len(STEPS) - 1)]
