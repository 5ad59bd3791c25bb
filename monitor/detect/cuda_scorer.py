"""The model on a GPU: transform, network, error and surprise as one graph that is replayed.

A kernel of a small network runs for microseconds, which is what its launch takes. So the whole pass
is captured at the start as a CUDA graph, once for each of a few batch sizes
(`monitor.detect.padded`). Memory that the GPU can read by itself (pinned) is copied from directly,
other vectors by way of such memory.

Only errors come back, 4 bytes a vector: spikes, recalibration and the metrics read them all.
Products are computed in float32, as PyTorch does unless told otherwise; TF32 would keep ten bits.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monitor.batch import Matrix
from monitor.detect.cpu_scorer import CpuScorer
from monitor.detect.model import ReconstructionModel
from monitor.detect.padded import PaddedRun, Prepare
from monitor.detect.scorer import Fallbacks, in_parts_that_fit, is_full

WARM_UPS = 3
PROBE_VECTORS = 64
ROUNDING = 1e-3
"""Relative difference between errors that float32 explains."""


class CudaScorer:
    """Scores on a GPU, and on the processor what finds no room there.

    Args:
        threads: how many the processor then scores with.
        ways: to run passes on the GPU, by what they are called, the best first. Where none works
            the processor scores everything.
    """

    def __init__(
        self,
        model: ReconstructionModel,
        threads: int = 1,
        ways: Mapping[str, Callable[[ReconstructionModel], PaddedRun]] | None = None,
    ) -> None:
        self.fallbacks = Fallbacks()
        self._spare = CpuScorer(deepcopy(model).cpu(), threads)
        self._alone = Lock()
        self._run: PaddedRun | None = None
        reasons = []
        for way, prepared in (ways or WAYS).items():
            try:
                self._run = prepared(model)
                break
            except RuntimeError as error:
                said = str(error).partition("\n")[0]
                told = f"the GPU's memory is full ({said})" if is_full(error) else said
                reasons.append(f"not {way}: {told}")
            # Only here is the exception gone, and with it what had been allocated.
            torch.cuda.empty_cache()
        else:
            reasons.append("the processor scores")
        self.fallbacks.reason = "; ".join(reasons)

    def errors(self, values: Matrix) -> NDArray[np.float32]:
        """(n, f) float32 vectors in spec order to (n,) errors, in nats; n may be 0."""
        values = np.ascontiguousarray(values, dtype=np.float32)
        with self._alone:
            if self._run:
                return in_parts_that_fit(self._run, self._spare.errors, values, self.fallbacks)
            self.fallbacks.scored_on_cpu += len(values)
            return self._spare.errors(values)


@torch.inference_mode()
def captured(model: ReconstructionModel, vectors: Tensor) -> Callable[[int], Tensor]:
    """A pass as a CUDA graph, in the stream that is current; `padded.Prepare`."""
    for _ in range(WARM_UPS):  # libraries choose their kernels and take their memory
        model(vectors)
    stream, graph = torch.cuda.current_stream(vectors.device), torch.cuda.CUDAGraph()
    stream.synchronize()
    with torch.cuda.graph(graph, stream=stream):
        errors: Tensor = model(vectors)

    def replay(count: int) -> Tensor:
        graph.replay()
        return errors[:count]

    return replay


def launched(model: ReconstructionModel, vectors: Tensor) -> Callable[[int], Tensor]:
    """A pass kernel by kernel, over no more rows than asked for; `padded.Prepare`."""

    def launch(count: int) -> Tensor:
        errors: Tensor = model(vectors[:count])
        return errors

    return launch


def verified(model: ReconstructionModel, prepare: Prepare) -> PaddedRun:
    """Passes of which each has found the model's errors; raises RuntimeError where one does not."""
    run = PaddedRun(model, prepare)
    off = _largest_difference(model, run)
    if not off <= ROUNDING:  # it may be NaN
        raise RuntimeError(f"errors differ from the model's by {off:.1g}")
    return run


@torch.inference_mode()
def _largest_difference(model: ReconstructionModel, run: PaddedRun) -> float:
    """Between any slot's errors and the model's, relative, of vectors like the training ones."""
    random = torch.Generator().manual_seed(0)
    z = torch.randn(PROBE_VECTORS, model.preprocessor.inputs, generator=random)
    vectors = model.preprocessor.natural(z.to(model.membership.device))
    expected = model(vectors).cpu().numpy()
    differences = []
    for found in run.of_each_slot(vectors.cpu().numpy()):
        wanted = np.resize(expected, len(found))
        differences.append(np.max(np.abs(found - wanted) / np.maximum(np.abs(wanted), 1.0)))
    return float(np.max(differences))


WAYS: Mapping[str, Callable[[ReconstructionModel], PaddedRun]] = {
    "as CUDA graphs": partial(verified, prepare=captured),
    "kernel by kernel": partial(PaddedRun, prepare=launched),  # the model itself
}
