"""Principal components: the best linear autoencoder, in closed form.

Hotelling 1933; as the optimum of a linear autoencoder Baldi & Hornik, Neural Networks 1989; as a
detector of network anomalies Lakhina, Crovella & Diot, SIGCOMM 2004. The eigenvectors of the
covariance with the largest eigenvalues span what is normal; the error is what lies outside.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from monitor.detect.networks.base import Network, moments, one_width

EXPLAINED_VARIANCE = 0.95
"""Share of the variance that the components must explain, where no number of them is given."""


class PrincipalComponents(Network):
    """Projection onto k orthonormal components and back.

    Args:
        inputs: d, the width of a transformed vector.
        hidden: the one width k, at most d.
    """

    name = "pca"
    center: Tensor
    components: Tensor

    def __init__(self, inputs: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.hidden = tuple(hidden)
        self.register_buffer("center", torch.zeros(inputs))
        self.register_buffer("components", torch.eye(self.hidden[0], inputs))

    @classmethod
    def design(
        cls, inputs: int, chunks: Iterable[Tensor], hidden: Sequence[int] | None = None
    ) -> Self:
        center, covariance = moments(chunks)
        variances, vectors = torch.linalg.eigh(covariance)  # ascending; (d,), (d, d)
        width = one_width(cls.name, hidden) or _sufficient(variances.flip(0))
        network = cls(inputs, (min(width, inputs),))
        network.center.copy_(center)
        network.components.copy_(vectors.flip(1).T[: network.hidden[0]])
        return network

    def encode(self, z: Tensor) -> Tensor:
        return torch.mm(z - self.center, self.components.T)  # (n, d) -> (n, k)

    def decode(self, latent: Tensor) -> Tensor:
        return self.center + torch.mm(latent, self.components)  # (n, k) -> (n, d)

    def players(self) -> Sequence[Sequence[nn.Parameter]]:
        return ()

    def hyperparameters(self) -> dict[str, Any]:
        return {"hidden": self.hidden}


def _sufficient(variances: Tensor) -> int:
    """How many of descending variances explain enough; never all, for then nothing is an error."""
    explained = variances.clamp(min=0).cumsum(dim=0)
    count = int((explained < EXPLAINED_VARIANCE * explained[-1]).sum()) + 1
    return max(min(count, len(variances) - 1), 1)
