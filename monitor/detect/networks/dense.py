"""Dense autoencoders, the default: a few small ones that differ only in how they started.

Hinton & Salakhutdinov, "Reducing the Dimensionality of Data with Neural Networks", Science 2006: an
encoder narrows the input to a bottleneck, a decoder widens it again. Trained on normal traffic
only, it learns the dependencies between features that normal traffic obeys; what breaks them is
reconstructed badly.

Several members, computed as one block, make the error steadier (Lakshminarayanan, Pritzel &
Blundell, "Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles", NeurIPS
2017): where training data says little they disagree, and their mean squared error is that of their
mean plus the variance between them.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain, pairwise
from math import sqrt
from typing import Any, Self

import torch
from torch import Tensor, nn

from monitor.detect.networks.base import Network, default_hidden

MEMBERS = 3


class DenseAutoencoder(Network):
    """Mirror-image multilayer perceptrons with ReLU between layers and linear outputs.

    Args:
        inputs: d, the width of a transformed vector.
        hidden: widths from the first encoder layer down to the bottleneck, which comes last.
        members: m, how many of them.
    """

    name = "dense"

    def __init__(self, inputs: int, hidden: Sequence[int], members: int = MEMBERS) -> None:
        super().__init__()
        self.hidden, self.members = tuple(hidden), members
        widths = [inputs, *hidden]
        self.encoder = _perceptrons(members, widths)
        self.decoder = _perceptrons(members, widths[::-1])

    @classmethod
    def design(
        cls,
        inputs: int,
        chunks: Iterable[Tensor],
        hidden: Sequence[int] | None = None,
        members: int = MEMBERS,
    ) -> Self:
        return cls(inputs, hidden or default_hidden(inputs), members=members)

    def encode(self, z: Tensor) -> Tensor:
        latent: Tensor = self.encoder(z.expand(self.members, *z.shape))  # (m, n, d) -> (m, n, k)
        return latent.transpose(0, 1).flatten(1)  # (m, n, k) -> (n, m * k)

    def decode(self, latent: Tensor) -> Tensor:
        members = latent.view(len(latent), self.members, self.hidden[-1]).transpose(0, 1)
        reconstructions: Tensor = self.decoder(members)  # (m, n, k) -> (m, n, d)
        return reconstructions

    def passes(self) -> Sequence[Callable[[Tensor], Tensor]]:
        return [partial(_follow, self._steps(member)) for member in range(self.members)]

    def _steps(self, member: int) -> Sequence[Callable[[Tensor], Tensor]]:
        layers = chain(self.encoder, self.decoder)
        return [x.of(member) if isinstance(x, _Linear) else torch.relu_ for x in layers]

    def hyperparameters(self) -> dict[str, Any]:
        return {"hidden": self.hidden, "members": self.members}


class _Linear(nn.Module):
    """m linear layers side by side: (m, n, a) to (m, n, b); they start as `nn.Linear` does."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias, x, self.weight)

    def of(self, member: int) -> Callable[[Tensor], Tensor]:
        """The one layer of this member: (n, a) to (n, b)."""
        return partial(
            torch.addmm, self.bias[member, 0].detach(), mat2=self.weight[member].detach()
        )


def _perceptrons(members: int, widths: Sequence[int]) -> nn.Sequential:
    """Linear layers of these widths, ReLU between them and none after the last."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [_Linear(members, inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _follow(steps: Iterable[Callable[[Tensor], Tensor]], x: Tensor) -> Tensor:
    for step in steps:
        x = step(x)
    return x
