"""The autoencoder of introductory texts: one layer down, one layer up.

A linear encoder with ReLU, a linear decoder with sigmoid, on inputs scaled to 0..1 by the range of
the training vectors (Goodfellow, Bengio & Courville, "Deep Learning", 2016, chapter 14; as a first
example in many tutorials, on 784 pixels with 64 latent units: `SimpleAutoencoder(784, (64,))`). A
sigmoid cannot leave that range, so a value beyond it is an error by itself.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from monitor.detect.networks.base import Network, default_hidden, one_width


class SimpleAutoencoder(Network):
    """One hidden layer, between inputs that it scales to 0..1 itself.

    Args:
        inputs: d, the width of a transformed vector.
        hidden: the one width of the hidden layer.
    """

    name = "simple"
    low: Tensor
    span: Tensor

    def __init__(self, inputs: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.hidden = tuple(hidden)
        self.encoder = nn.Sequential(nn.Linear(inputs, self.hidden[0]), nn.ReLU())
        self.decoder = nn.Sequential(nn.Linear(self.hidden[0], inputs), nn.Sigmoid())
        self.register_buffer("low", torch.zeros(inputs))
        self.register_buffer("span", torch.ones(inputs))

    @classmethod
    def design(
        cls, inputs: int, chunks: Iterable[Tensor], hidden: Sequence[int] | None = None
    ) -> Self:
        network = cls(inputs, (one_width(cls.name, hidden) or default_hidden(inputs)[-1],))
        ranges = [torch.stack(torch.aminmax(z, dim=0)).cpu() for z in chunks]  # (2, d) each
        low, high = torch.stack([r[0] for r in ranges]), torch.stack([r[1] for r in ranges])
        network.low.copy_(low.amin(dim=0))
        network.span.copy_(high.amax(dim=0) - network.low)
        return network

    def encode(self, z: Tensor) -> Tensor:
        width = torch.where(self.span > 0, self.span, 1.0)  # an input that never varies has none
        latent: Tensor = self.encoder((z - self.low) / width)  # (n, d) in 0..1 -> (n, k)
        return latent

    def decode(self, latent: Tensor) -> Tensor:
        scaled: Tensor = self.decoder(latent)  # (n, k) -> (n, d) in 0..1
        return self.low + scaled * self.span

    def hyperparameters(self) -> dict[str, Any]:
        return {"hidden": self.hidden}
