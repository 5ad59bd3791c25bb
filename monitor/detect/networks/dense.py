"""A dense autoencoder, the default.

Hinton & Salakhutdinov, "Reducing the Dimensionality of Data with Neural Networks", Science 2006: an
encoder narrows the input to a bottleneck, a decoder widens it again. Trained on normal traffic
only, it learns the dependencies between features that normal traffic obeys; what breaks them is
reconstructed badly.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Self

from torch import Tensor

from monitor.detect.networks.base import Network, default_hidden, perceptron


class DenseAutoencoder(Network):
    """Mirror-image multilayer perceptron with ReLU between layers and linear outputs.

    Args:
        inputs: d, the width of a transformed vector.
        hidden: widths from the first encoder layer down to the bottleneck, which comes last.
    """

    name = "dense"

    def __init__(self, inputs: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.hidden = tuple(hidden)
        widths = [inputs, *hidden]
        self.encoder = perceptron(widths)
        self.decoder = perceptron(widths[::-1])

    @classmethod
    def design(
        cls, inputs: int, chunks: Iterable[Tensor], hidden: Sequence[int] | None = None
    ) -> Self:
        return cls(inputs, hidden or default_hidden(inputs))

    def encode(self, z: Tensor) -> Tensor:
        latent: Tensor = self.encoder(z)  # (n, d) -> (n, bottleneck)
        return latent

    def decode(self, latent: Tensor) -> Tensor:
        reconstruction: Tensor = self.decoder(latent)  # (n, bottleneck) -> (n, d)
        return reconstruction

    def hyperparameters(self) -> dict[str, Any]:
        return {"hidden": self.hidden}
