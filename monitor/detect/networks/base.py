"""What every network is to the rest: one small contract that hides how it works.

A network sees transformed vectors z, (n, d), and gives their reconstruction. Its author writes
`design`, `encode`, `decode` and `hyperparameters`; where training is more than making the
reconstruction error small, `players` and `objective`; where something besides the reconstruction
betrays an anomaly, `penalties` and `penalise`. It never learns of losses beyond the error that it
is handed, of devices, or of files.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from monitor.errors import SettingsError

ReconstructionError = Callable[[Tensor], Tensor]
"""([m,] n, d) reconstruction of a mini-batch to its ([m,] n) robust errors."""


class Network(nn.Module, ABC):
    """Reconstructs vectors by way of a latent vector; learns what normal ones have in common.

    Attributes:
        name: what `--network` and the manifest call it.
        penalties: p, how many numbers `penalise` adds to a vector's error.
    """

    name: ClassVar[str]
    penalties: int = 0

    @classmethod
    @abstractmethod
    def design(
        cls, inputs: int, chunks: Iterable[Tensor], hidden: Sequence[int] | None = None
    ) -> Self:
        """A network for d inputs, on any device.

        Args:
            chunks: the transformed training vectors as (n, d) pieces, read as often as needed: for
                ranges, correlations, or a solution in closed form.
            hidden: widths asked for, the latent one last; None derives them.

        Raises:
            SettingsError: the network cannot have these widths.
        """

    @abstractmethod
    def encode(self, z: Tensor) -> Tensor:
        """(n, d) inputs to (n, k) latent vectors."""

    @abstractmethod
    def decode(self, latent: Tensor) -> Tensor:
        """(n, k) latent vectors to (n, d) reconstructed inputs.

        Of a network with m members, which are trained side by side: (m, n, d), what each makes of
        it. Their squared errors are averaged.
        """

    @abstractmethod
    def hyperparameters(self) -> dict[str, Any]:
        """What, with d, makes the same network again: the arguments of `__init__`."""

    def forward(self, z: Tensor) -> Tensor:
        """(n, d) inputs to their ([m,] n, d) reconstruction; deterministic, row by row."""
        return self.decode(self.encode(z))

    def passes(self) -> Sequence[Callable[[Tensor], Tensor]]:
        """For each member what makes its reconstruction, (n, d) to (n, d), as `forward` would.

        On a processor, one member after another keeps what lies between its layers in the cache.
        They see later changes of the parameters.
        """
        return (self,)

    def players(self) -> Sequence[Sequence[nn.Parameter]]:
        """Parameters by player; each has its own objective, and they move in turn.

        None where `design` has already solved the network.
        """
        return (list(self.parameters()),)

    def objective(self, player: int, z: Tensor, error: ReconstructionError) -> Tensor:
        """What this player wants small: a scalar of an (n, d) mini-batch."""
        return error(self(z)).mean()

    def penalise(self, z: Tensor, reconstruction: Tensor) -> Tensor:
        """(n, d) inputs and reconstruction to (n, p) numbers >= 0 that are small in normal vectors.

        Each is divided by its usual size and judged beside the features' squared errors.
        """
        return z.new_zeros((len(z), self.penalties))


def perceptron(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers of these widths, ReLU between them and none after the last."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def default_hidden(inputs: int) -> tuple[int, ...]:
    """Encoder widths for d inputs: the power of two from d up, its half, and its quarter.

    Bounded below so that a handful of features still has a bottleneck, and above so that a
    thousand features stay affordable on a CPU.
    """
    first = min(max(1 << (inputs - 1).bit_length(), 8), 512)
    return (first, first // 2, first // 4)


def one_width(name: str, hidden: Sequence[int] | None) -> int | None:
    """The width of a network that has a single hidden layer.

    Raises:
        SettingsError: several were asked for.
    """
    if hidden and len(hidden) > 1:
        raise SettingsError(
            f"network {name}: has one hidden layer, {len(hidden)} widths were given; give one."
        )
    return hidden[0] if hidden else None


def moments(chunks: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean (d,) and covariance (d, d) of all (n, d) chunks, float64, in one pass."""
    count, total, products = 0, torch.tensor(0.0), torch.tensor(0.0)
    for z in chunks:
        wide = z.double()
        count += len(z)
        total = total.to(wide) + wide.sum(dim=0)
        products = products.to(wide) + wide.T @ wide
    mean = total / count
    return mean, products / count - torch.outer(mean, mean)
