"""A dense autoencoder that learns to undo corruption.

Vincent, Larochelle, Bengio & Manzagol, "Extracting and Composing Robust Features with Denoising
Autoencoders", ICML 2008. The corruption is swap noise, usual for tables of mixed kinds: an input
takes the value that another vector of the mini-batch has there, so that each value stays a common
one and only the dependencies break. Those are what an anomaly breaks.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from monitor.detect.networks.base import ReconstructionError
from monitor.detect.networks.dense import DenseAutoencoder


class DenoisingAutoencoder(DenseAutoencoder):
    """Corrupted only while it trains.

    Args:
        swapped: share of the inputs that are swapped.
        dense: what else makes a dense autoencoder.
    """

    name = "denoising"

    def __init__(
        self, inputs: int, hidden: Sequence[int], swapped: float = 0.15, **dense: Any
    ) -> None:
        super().__init__(inputs, hidden, **dense)
        self.swapped = swapped

    def objective(self, player: int, z: Tensor, error: ReconstructionError) -> Tensor:
        others = z[torch.randperm(len(z), device=z.device)]  # (n, d)
        corrupted = torch.where(torch.rand_like(z) < self.swapped, others, z)
        return error(self(corrupted)).mean()

    def hyperparameters(self) -> dict[str, Any]:
        return {**super().hyperparameters(), "swapped": self.swapped}
