"""An adversarial autoencoder: GANomaly.

Akcay, Atapour-Abarghouei & Breckon, "GANomaly: Semi-Supervised Anomaly Detection via Adversarial
Training", ACCV 2018. A generator (encoder and decoder) reconstructs normal vectors so well that a
discriminator cannot tell them from real ones, and a second encoder finds the latent vector again in
the reconstruction. An anomaly is reconstructed as something normal, whose latent vector then is
another one: this difference is judged beside the reconstruction error. Generator and discriminator
take turns.
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from monitor.detect.networks.base import Network, ReconstructionError, default_hidden, perceptron

GENERATOR, DISCRIMINATOR = 0, 1


class AdversarialAutoencoder(Network):
    """Three encoders of the same widths, one of which ends in a verdict, and a decoder.

    Args:
        inputs: d, the width of a transformed vector.
        hidden: widths from the first encoder layer down to the latent vector, which comes last.
        adversarial, latent: weights of the discriminator's features and of the latent difference
            beside the reconstruction error; in the paper 1 and 1 beside 50.
    """

    name = "gan"

    def __init__(
        self,
        inputs: int,
        hidden: Sequence[int],
        adversarial: float = 0.02,
        latent: float = 0.02,
    ) -> None:
        super().__init__()
        self.hidden, self.adversarial, self.latent = tuple(hidden), adversarial, latent
        self.penalties = self.hidden[-1]
        widths = [inputs, *self.hidden]
        self.encoder = perceptron(widths)
        self.decoder = perceptron(widths[::-1])
        self.encoder_again = perceptron(widths)
        self.features = nn.Sequential(perceptron(widths), nn.ReLU())
        self.verdict = nn.Linear(self.hidden[-1], 1)

    @classmethod
    def design(
        cls, inputs: int, chunks: Iterable[Tensor], hidden: Sequence[int] | None = None
    ) -> Self:
        return cls(inputs, hidden or default_hidden(inputs))

    def encode(self, z: Tensor) -> Tensor:
        latent: Tensor = self.encoder(z)  # (n, d) -> (n, k)
        return latent

    def decode(self, latent: Tensor) -> Tensor:
        reconstruction: Tensor = self.decoder(latent)  # (n, k) -> (n, d)
        return reconstruction

    def players(self) -> Sequence[Sequence[nn.Parameter]]:
        generator = (self.encoder, self.decoder, self.encoder_again)
        return tuple(
            list(chain.from_iterable(part.parameters() for part in parts))
            for parts in (generator, (self.features, self.verdict))
        )

    def objective(self, player: int, z: Tensor, error: ReconstructionError) -> Tensor:
        if player == DISCRIMINATOR:
            with torch.no_grad():
                made = self(z)
            return _binary(self._judge(z), real=True) + _binary(self._judge(made), real=False)
        made = self(z)
        matching: Tensor = (self.features(made) - self.features(z).detach()).square().mean()
        latent = self.penalise(z, made).mean()
        return error(made).mean() + self.adversarial * matching + self.latent * latent

    def penalise(self, z: Tensor, reconstruction: Tensor) -> Tensor:
        again: Tensor = self.encoder_again(reconstruction)  # (n, d) -> (n, k)
        return (self.encode(z) - again).square()

    def hyperparameters(self) -> dict[str, Any]:
        return {"hidden": self.hidden, "adversarial": self.adversarial, "latent": self.latent}

    def _judge(self, z: Tensor) -> Tensor:
        logits: Tensor = self.verdict(self.features(z))  # (n, d) -> (n, 1)
        return logits


def _binary(logits: Tensor, *, real: bool) -> Tensor:
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))
