"""The model's forward pass laid out for a processor: the same errors, sooner.

What surrounds a small network costs a processor more than the network, unless each pass over the
matrix is cheap. So a chunk stays in a core's cache from its first pass to its last, every pass
writes into a buffer that is there already, and each is done by what does it best: logarithms by
numpy, several times as fast as torch's, the rest by torch. Between two of its knots a surprise is a
line over the logarithm, and is stored as that.
"""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import ceil, log
from threading import local

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monitor.batch import Matrix
from monitor.detect.model import INPUT_LIMIT, ReconstructionModel
from monitor.detect.preprocess import SCALED_LIMIT, Preprocessor
from monitor.detect.scorer import Fallbacks
from monitor.detect.surprise import KNOTS, Surprise

CHUNK_NUMBERS = 240_000
"""In each matrix of a pass, so that those of a step fit into a core's cache. Half of it is as fast
alone, but then passes are twice as many, and each of their steps asks for the GIL."""
FEWEST, MOST = 256, 4096
"""Vectors in a pass: for fewer its calls cost more than its work, and more gain nothing."""
LARGEST_LOGARITHM = 89.0
"""Of 1 + the largest float32."""
MOST_THREADS = 8
"""Python's part of each pass is short, but one at a time."""


def chunk_rows(inputs: int) -> int:
    """How many vectors with so many inputs to score in one pass."""
    return min(max(CHUNK_NUMBERS // inputs, FEWEST), MOST)


def scoring_threads(cores: int) -> int:
    """How many threads a daemon that has so many cores should score with.

    The other half polls, decodes and publishes. Each scores chunks of its own: operations that
    share their work between threads wait for the slowest of them dozens of times a chunk, and where
    another thread wants a core are many times slower for it.
    """
    return min(max(cores // 2, 1), MOST_THREADS)


class CpuScorer:
    """Scores on the processor; safe to share between threads.

    Args:
        threads: how many share the chunks of a call.
    """

    def __init__(self, model: ReconstructionModel, threads: int = 1) -> None:
        self.fallbacks = Fallbacks()
        self._model = model
        self._rows = chunk_rows(model.preprocessor.inputs)
        self._of_thread, self._threads = local(), threads
        self._pool = (
            ThreadPoolExecutor(threads, "scoring", torch.set_num_threads, (1,))
            if threads > 1
            else None
        )

    def errors(self, values: Matrix) -> NDArray[np.float32]:
        """(n, f) float32 vectors in spec order to (n,) errors, in nats; n may be 0."""
        errors = np.empty(len(values), np.float32)
        rows = min(max(ceil(len(values) / self._threads), FEWEST), self._rows)
        parts = [slice(start, start + rows) for start in range(0, len(values), rows)]
        each = self._pool.map if self._pool and len(parts) > 1 else map
        deque(each(partial(self._score, values, errors), parts), maxlen=0)
        return errors

    @torch.inference_mode()
    def _score(self, values: Matrix, errors: NDArray[np.float32], part: slice) -> None:
        errors[part] = self._pass()(np.ascontiguousarray(values[part], dtype=np.float32))

    def _pass(self) -> "_Pass":
        if not hasattr(self._of_thread, "made"):
            self._of_thread.made = _Pass(self._model, self._rows)
        made: _Pass = self._of_thread.made
        return made


class _Pass:
    """One thread's way through the model, with buffers for a chunk.

    The judged columns (j of them) are those of the surprise in another order: scalar features,
    categorical ones, penalties.
    """

    def __init__(self, model: ReconstructionModel, rows: int) -> None:
        self._transform = _Transform(model.preprocessor, rows)
        m, categorical = self._transform.scalars, self._transform.categorical
        features = model.preprocessor.features
        order = [
            *model.preprocessor.source[:m].tolist(),
            *categorical,
            *range(features, features + model.network.penalties),
        ]
        self._network, self._passes = model.network, model.network.passes()
        summed = [len(self._passes)] * features + [1] * model.network.penalties
        self._lookup = _Lookup(model.surprise, order, summed, rows)
        self._membership = model.membership[m:, categorical].contiguous()
        self._floor = torch.zeros(model.preprocessor.inputs)
        self._floor[:m] = self._lookup.floor[:m]
        self._inputs, self._off, self._squared = torch.empty(3, rows, model.preprocessor.inputs)
        self._judged = torch.empty(rows, len(order))

    def __call__(self, values: Matrix) -> NDArray[np.float32]:
        """(n, f) vectors to (n,) errors."""
        n = len(values)
        z, inputs, squared = self._transform(values), self._inputs[:n], self._squared[:n]
        torch.clamp(z, -INPUT_LIMIT, INPUT_LIMIT, out=inputs)
        for member, reconstruct in enumerate(self._passes):
            reconstruction = reconstruct(inputs)  # (n, d)
            off = torch.sub(reconstruction, z, out=self._off[:n])
            torch.addcmul(squared if member else self._floor, off, off, out=squared)
        return self._lookup.mean(self._judge(inputs, reconstruction, squared))

    def _judge(self, inputs: Tensor, reconstruction: Tensor, squared: Tensor) -> Tensor:
        """Squared errors summed over members, (n, d), to (n, j) with the floor in each."""
        floor, m = self._lookup.floor, self._transform.scalars
        f = m + len(self._transform.categorical)
        if m == len(floor):
            return squared
        judged = self._judged[: len(squared)]
        judged[:, :m] = squared[:, :m]
        if f > m:
            judged[:, m:f] = torch.addmm(floor[m:f], squared[:, m:], self._membership)
        if len(floor) > f:
            judged[:, f:] = floor[f:] + self._network.penalise(inputs, reconstruction)
        return judged


class _Transform:
    """`Preprocessor.forward` into a buffer.

    Attributes:
        scalars: how many inputs, from the first, are numeric or boolean.
        categorical: columns of the categorical features.
    """

    def __init__(self, fitted: Preprocessor, rows: int) -> None:
        self.scalars = m = fitted.scalars
        source, linear = fitted.source.numpy(), ~fitted.logarithmic.numpy()
        self._columns = None if list(source) == list(range(fitted.features)) else source[:m]
        self._linear, self._linear_columns = np.flatnonzero(linear), source[:m][linear]
        self._center, self._per_scale = fitted.center, 1 / fitted.scale
        furthest = (LARGEST_LOGARITHM + fitted.center.abs()) / fitted.scale
        self._bounded = not linear.any() and bool((furthest < SCALED_LIMIT).all())
        self.categorical = list(dict.fromkeys(source[m:].tolist()))
        inputs = [int((source == column).sum()) for column in self.categorical]
        self._last_code = np.array(inputs, np.float32) - 1
        first = m + np.cumsum([0, *inputs])[:-1]  # input of each categorical feature's code 0
        self._first_cells = np.arange(rows)[:, None] * fitted.inputs + first  # (rows, c)
        self._marked = self._first_cells[:0]
        self._z = torch.zeros(rows, fitted.inputs)
        self._gathered, self._unscaled = np.empty((2, rows, m), np.float32)

    def __call__(self, values: Matrix) -> Tensor:
        """(n, f) vectors to (n, d) inputs, which stand until the next call."""
        z = self._z[: len(values)]
        if self.scalars:
            self._scale(values, z[:, : self.scalars])
        if self.categorical:
            self._mark(values)
        return z

    def _scale(self, values: Matrix, z: Tensor) -> None:
        """The scalar features to (n, m)."""
        x, y = self._gathered[: len(values)], self._unscaled[: len(values)]
        if self._columns is None:
            x = values
        else:
            np.take(values, self._columns, axis=1, out=x, mode="clip")
        signed = bool(x.min() < 0)
        np.log1p(np.abs(x, out=y) if signed else x, out=y)
        if signed:
            np.copysign(y, x, out=y)
        if len(self._linear):
            y[:, self._linear] = values[:, self._linear_columns]
        torch.mul(torch.from_numpy(y).sub_(self._center), self._per_scale, out=z)
        if not self._bounded:
            z.clamp_(-SCALED_LIMIT, SCALED_LIMIT)

    def _mark(self, values: Matrix) -> None:
        """The categorical features, one-hot; only what the last call marked needs to be wiped."""
        cells = self._z.view(-1).numpy()
        cells[self._marked] = 0
        codes = values[:, self.categorical]  # (n, c)
        known = np.fmax(np.fmin(codes, self._last_code), 0).astype(np.int64)
        self._marked = self._first_cells[: len(values)] + known
        cells[self._marked] = known == codes


class _Lookup:
    """`Surprise.forward` and the mean over its columns.

    Counted from 1 at the first knot, position p lies on line floor(p): line 0 is all below the
    first knot, the last line all beyond the last.

    Args:
        summed: of how many squared errors each column is the sum and not, as fitted, the mean.

    Attributes:
        floor: (j,) to be added to those sums.
    """

    def __init__(self, fitted: Surprise, order: list[int], summed: list[int], rows: int) -> None:
        count = torch.tensor(summed).double()
        self.floor = (fitted.floor[order] * count).float()
        start, step, table, slope = (
            getattr(fitted, name)[order].double() for name in ("start", "step", "table", "slope")
        )
        slopes = torch.cat((torch.zeros(len(order), 1), table.diff(), (step * slope)[:, None]), 1)
        at = torch.cat((table[:, :1], table), 1)  # (j, KNOTS + 1): surprise at line k's position k
        self._slope = slopes.float().flatten()
        self._intercept = (at - slopes * torch.arange(KNOTS + 1)).float().flatten()
        self._start = ((start - step) / log(2) + count.log2()).float()
        self._per_step = (log(2) / step).float()
        self._first_line = (KNOTS + 1) * torch.arange(len(order), dtype=torch.int32)
        self._position, self._low, self._rise = torch.empty(3, rows, len(order))
        self._line = torch.empty(rows, len(order), dtype=torch.int32)

    def mean(self, judged: Tensor) -> NDArray[np.float32]:
        """(n, j) summed squared errors with their floor to (n,) mean surprises."""
        n = len(judged)
        position, low, rise = self._position[:n], self._low[:n], self._rise[:n]
        np.log2(judged.numpy(), out=position.numpy())
        position.sub_(self._start).mul_(self._per_step)
        line = self._line[:n].copy_(torch.clamp(position, 0, KNOTS, out=low)).add_(self._first_line)
        torch.index_select(self._intercept, 0, line.view(-1), out=low.view(-1))
        torch.index_select(self._slope, 0, line.view(-1), out=rise.view(-1))
        mean: NDArray[np.float32] = low.addcmul_(rise, position).mean(dim=1).numpy()
        return mean
