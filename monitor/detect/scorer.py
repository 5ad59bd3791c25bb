"""From vectors to errors: the contract, and what scores when a device's memory is full.

scorer.errors(values)                # (n, f) float32 to (n,) float32
scorer.fallbacks.scored_on_cpu       # vectors, since the beginning
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from monitor.batch import Matrix

Run = Callable[[Matrix], NDArray[np.float32]]
"""(n, f) float32 vectors in spec order to their (n,) errors, in nats."""

SMALLEST_PART = 64
"""Vectors that are not parted again: what has no room for these has no room for one."""
FULL = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""In errors of CUDA and its libraries that PyTorch hands on as they are."""


@dataclass(slots=True)
class Fallbacks:
    """What could not be done the best way.

    Attributes:
        reason: why passes are not replayed as CUDA graphs, or why there are none on the device;
            empty where they are replayed, or need not be.
        halved: how often a batch was parted because the device's memory was full.
        scored_on_cpu: vectors for which there was no room on the device at all.
    """

    reason: str = ""
    halved: int = 0
    scored_on_cpu: int = 0

    def take(self) -> tuple[int, int]:
        """Both counts since the last call; from the thread that scores."""
        counts = self.halved, self.scored_on_cpu
        self.halved = self.scored_on_cpu = 0
        return counts


class Scorer(Protocol):
    """Scores where a model is; one call at a time."""

    @property
    def fallbacks(self) -> Fallbacks:
        """What could not be done the best way."""

    def errors(self, values: Matrix) -> NDArray[np.float32]:
        """(n, f) float32 vectors in spec order to (n,) errors, in nats; n may be 0."""


def in_parts_that_fit(
    run: Run, spare: Run, values: Matrix, fallbacks: Fallbacks
) -> NDArray[np.float32]:
    """The (n,) errors by `run`, of halves where its memory is full, and by `spare` of the least."""
    try:
        return run(values)
    except RuntimeError as error:
        if not is_full(error):
            raise
    # Only here is the exception gone, and with it what the failed pass had allocated.
    torch.cuda.empty_cache()
    if len(values) <= SMALLEST_PART:
        fallbacks.scored_on_cpu += len(values)
        return spare(values)
    fallbacks.halved += 1
    halves = np.array_split(values, 2)
    return np.concatenate([in_parts_that_fit(run, spare, half, fallbacks) for half in halves])


def is_full(error: RuntimeError) -> bool:
    """Whether it says that the device's memory was full."""
    full = isinstance(error, torch.cuda.OutOfMemoryError)
    return full or any(words in str(error) for words in FULL)
