"""The model on a GPU: transform, network, error and surprise as one graph that is replayed.

A kernel of a small network runs for microseconds, which is what its launch takes. So the whole pass
is captured at the start as a CUDA graph, once for each of a few batch sizes
(`monitor.detect.padded`). Memory that the GPU can read by itself (pinned) is copied from directly,
other vectors by way of such memory.

Only errors come back, 4 bytes a vector: spikes, recalibration and the metrics read them all.
Products are computed in float32, as PyTorch does unless told otherwise; TF32 would keep ten bits.
"""

from collections.abc import Callable
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
from monitor.detect.padded import PaddedRun
from monitor.detect.scorer import Fallbacks, in_parts_that_fit

WARM_UPS = 3
PROBE_VECTORS = 64
ROUNDING = 1e-3
"""Relative difference between errors that float32 explains."""


class CudaScorer:
    """Scores on a GPU, and on the processor what finds no room there.

    Args:
        threads: how many the processor then scores with.
    """

    def __init__(self, model: ReconstructionModel, threads: int = 1) -> None:
        self.fallbacks = Fallbacks()
        self._spare = CpuScorer(deepcopy(model).cpu(), threads)
        self._alone = Lock()
        try:
            self._run = PaddedRun(model, captured)
            self.fallbacks.reason = self._difference(model)
        except RuntimeError as error:  # memory that is full, too
            first_line = str(error).partition("\n")[0]
            self.fallbacks.reason = f"the model cannot be captured as a CUDA graph: {first_line}"
        if self.fallbacks.reason:
            self._run = PaddedRun(model, launched)

    def errors(self, values: Matrix) -> NDArray[np.float32]:
        """(n, f) float32 vectors in spec order to (n,) errors, in nats; n may be 0."""
        values = np.ascontiguousarray(values, dtype=np.float32)
        with self._alone:
            return in_parts_that_fit(self._run, self._spare.errors, values, self.fallbacks)

    @torch.inference_mode()
    def _difference(self, model: ReconstructionModel) -> str:
        """What, if anything, replayed graphs get wrong about vectors like the training ones."""
        random = torch.Generator().manual_seed(0)
        z = torch.randn(PROBE_VECTORS, model.preprocessor.inputs, generator=random)
        vectors = model.preprocessor.natural(z.to(model.membership.device))
        expected = model(vectors).cpu().numpy()
        found = self._run(vectors.cpu().numpy())
        off = float(np.max(np.abs(found - expected) / np.maximum(np.abs(expected), 1.0)))
        if off <= ROUNDING:
            return ""
        return f"the CUDA graph's errors differ from the model's by {off:.1g}"


@torch.inference_mode()
def captured(model: ReconstructionModel, vectors: Tensor) -> Callable[[], Tensor]:
    """A pass as a CUDA graph, in the stream that is current; `padded.Prepare`."""
    for _ in range(WARM_UPS):  # libraries choose their kernels and take their memory
        model(vectors)
    stream, graph = torch.cuda.current_stream(vectors.device), torch.cuda.CUDAGraph()
    stream.synchronize()
    with torch.cuda.graph(graph, stream=stream):
        errors: Tensor = model(vectors)

    def replay() -> Tensor:
        graph.replay()
        return errors

    return replay


def launched(model: ReconstructionModel, vectors: Tensor) -> Callable[[], Tensor]:
    """A pass kernel by kernel; `padded.Prepare`."""
    return partial(model, vectors)
