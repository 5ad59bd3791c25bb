"""How long calls take, side by side."""

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import TypeVar

K = TypeVar("K")

TURNS = 15
TURN_SECONDS = 0.03


def seconds_a_call(
    calls: Mapping[K, Callable[[], object]],
    turns: int = TURNS,
    turn_seconds: float = TURN_SECONDS,
) -> dict[K, list[float]]:
    """Of each call, what it took in each turn.

    They take turns, so that what else the machine does is fair to all of them; ratios are best made
    turn by turn.
    """
    often = {key: max(int(turn_seconds / max(_once(call), 1e-9)), 1) for key, call in calls.items()}
    taken: dict[K, list[float]] = {key: [] for key in calls}
    for _ in range(turns):
        for key, call in calls.items():
            started = perf_counter()
            for _ in range(often[key]):
                call()
            taken[key].append((perf_counter() - started) / often[key])
    return taken


def _once(call: Callable[[], object]) -> float:
    call()  # warms up
    started = perf_counter()
    call()
    return perf_counter() - started
