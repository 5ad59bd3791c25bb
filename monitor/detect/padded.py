"""Batches of any size, as passes over buffers of a few fixed sizes.

What is prepared once for a size (a CUDA graph, above all) is run again for each batch. Vectors fill
the largest buffers and the smallest one that holds the rest; rows beyond them hold what was there
before, and since every row is scored by itself, their errors are left out, or not computed at all.
The buffers of a size take turns, so that vectors are copied into one while a device computes on the
other.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monitor.batch import Matrix
from monitor.detect.model import ReconstructionModel

SIZES = (64, 512, 4_096, 32_768)
TURNS = 2

Prepare = Callable[[ReconstructionModel, Tensor], Callable[[int], Tensor]]
"""A model and its (size, f) input buffer to what computes the (n,) errors of the first n there."""


class Slot:
    """Buffers of one size where a model is, and a pass over them.

    On a GPU they have a stream of their own; `start` returns before the GPU has done anything.
    """

    def __init__(self, model: ReconstructionModel, size: int, prepare: Prepare) -> None:
        device, features = model.membership.device, model.preprocessor.features
        on_gpu = device.type == "cuda"
        self._staging = torch.zeros(size, features, pin_memory=on_gpu)
        self._errors = torch.zeros(size, pin_memory=on_gpu)
        self._input = torch.zeros(size, features, device=device)
        self._stream = torch.cuda.Stream(device) if on_gpu else None  # type: ignore[no-untyped-call]
        self._done = torch.cuda.Event() if on_gpu else None  # type: ignore[no-untyped-call]
        self._used = 0
        if self._stream:
            self._stream.wait_stream(torch.cuda.current_stream(device))  # where the zeros come from
        with self._in_stream():
            self._pass = prepare(model, self._input)

    def start(self, values: Matrix) -> None:
        """Copy (n, f) vectors in and have their errors computed; n is at most the size."""
        self._used = n = len(values)
        if self._done:
            self._done.synchronize()  # a pass may have been given up while it was under way
        with self._in_stream():
            self._input[:n].copy_(self._readable(values), non_blocking=True)
            self._errors[:n].copy_(self._pass(n), non_blocking=True)
            if self._done:
                self._done.record()

    def finish(self) -> NDArray[np.float32]:
        """The (n,) errors of what was started last; they stand until the next start."""
        if self._done:
            self._done.synchronize()
        errors: NDArray[np.float32] = self._errors[: self._used].numpy()
        return errors

    def _readable(self, values: Matrix) -> Tensor:
        """Vectors in memory that the device can read by itself."""
        if values.flags.writeable and (given := torch.from_numpy(values)).is_pinned():
            return given
        staged = self._staging[: len(values)]
        np.copyto(staged.numpy(), values)
        return staged

    def _in_stream(self) -> torch.cuda.StreamContext | nullcontext[None]:
        return torch.cuda.stream(self._stream) if self._stream else nullcontext()


class PaddedRun:
    """Scores batches of any size with the slots of a few sizes, `TURNS` of each."""

    def __init__(
        self, model: ReconstructionModel, prepare: Prepare, sizes: Sequence[int] = SIZES
    ) -> None:
        self._slots: Mapping[int, Sequence[Slot]] = {
            size: [Slot(model, size, prepare) for _ in range(TURNS)] for size in sorted(sizes)
        }

    @torch.inference_mode()
    def __call__(self, values: Matrix) -> NDArray[np.float32]:
        """(n, f) float32 vectors to (n,) errors; n may be 0."""
        errors = np.empty(len(values), np.float32)
        under_way: deque[tuple[Slot, slice]] = deque()
        for turn, (part, size) in enumerate(parts(len(values), list(self._slots))):
            if len(under_way) == TURNS:
                slot, done = under_way.popleft()
                errors[done] = slot.finish()
            slot = self._slots[size][turn % TURNS]
            slot.start(values[part])
            under_way.append((slot, part))
        for slot, done in under_way:
            errors[done] = slot.finish()
        return errors

    @torch.inference_mode()
    def of_each_slot(self, values: Matrix) -> Iterator[NDArray[np.float32]]:
        """The (size,) errors that every slot finds, filled with these vectors over and over."""
        for size, slots in self._slots.items():
            filled = np.resize(values, (size, values.shape[1]))
            for slot in slots:
                slot.start(filled)
                yield slot.finish()


def parts(count: int, sizes: Sequence[int]) -> Iterator[tuple[slice, int]]:
    """So many vectors as parts, each with the smallest of ascending sizes that holds it."""
    for start in range(0, count, sizes[-1]):
        stop = min(start + sizes[-1], count)
        yield slice(start, stop), next(size for size in sizes if size >= stop - start)
