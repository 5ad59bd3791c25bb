"""A variational autoencoder.

Kingma & Welling, "Auto-Encoding Variational Bayes", ICLR 2014; for anomalies An & Cho, "Variational
Autoencoder based Anomaly Detection using Reconstruction Probability", SNU 2015. It maximises a
bound on the likelihood of normal vectors (ELBO): what a latent sample fails to reconstruct, and how
far the latent distribution lies from a standard normal one (KL divergence). The detector's robust
error is the negative log-likelihood of a Cauchy residual, so it serves as the first part.

Scoring must not depend on chance, so it reconstructs from the mean of the latent distribution in
place of samples, and judges the divergence of each latent dimension beside the features' errors.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from monitor.detect.networks.base import Network, ReconstructionError, default_hidden, perceptron

LOG_VARIANCE_LIMIT = 8.0


class VariationalAutoencoder(Network):
    """Multilayer perceptrons for the latent distribution and for its decoding.

    Args:
        inputs: d, the width of a transformed vector.
        hidden: widths from the first encoder layer down to the latent vector, which comes last.
        beta: weight of the divergence (Higgins et al., ICLR 2017). 1 is the bound for residuals as
            wide as training takes them to be, much wider than a good reconstruction leaves them:
            most latent dimensions would carry nothing.
    """

    name = "vae"

    def __init__(self, inputs: int, hidden: Sequence[int], beta: float = 0.1) -> None:
        super().__init__()
        self.hidden, self.beta = tuple(hidden), beta
        self.penalties = self.hidden[-1]
        self.encoder = perceptron([inputs, *self.hidden[:-1], 2 * self.hidden[-1]])
        self.decoder = perceptron([*self.hidden[::-1], inputs])

    @classmethod
    def design(
        cls, inputs: int, chunks: Iterable[Tensor], hidden: Sequence[int] | None = None
    ) -> Self:
        return cls(inputs, hidden or default_hidden(inputs))

    def encode(self, z: Tensor) -> Tensor:
        return self._distribution(z)[0]

    def decode(self, latent: Tensor) -> Tensor:
        reconstruction: Tensor = self.decoder(latent)  # (n, k) -> (n, d)
        return reconstruction

    def objective(self, player: int, z: Tensor, error: ReconstructionError) -> Tensor:
        mean, log_variance = self._distribution(z)
        sample = mean + torch.randn_like(mean) * (log_variance / 2).exp()  # (n, k)
        divergence = _divergence(mean, log_variance).sum(dim=1)  # (n, k) -> (n,)
        # The error is a mean over what is reconstructed where the bound has a sum.
        return (error(self.decode(sample)) + self.beta * divergence / z.shape[1]).mean()

    def penalise(self, z: Tensor, reconstruction: Tensor) -> Tensor:
        return _divergence(*self._distribution(z))

    def hyperparameters(self) -> dict[str, Any]:
        return {"hidden": self.hidden, "beta": self.beta}

    def _distribution(self, z: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.encoder(z).chunk(2, dim=1)  # (n, d) -> (n, 2k) -> (n, k) twice
        return mean, log_variance.clamp(-LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT)


def _divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """(n, k) divergences, in nats, of normal distributions from the standard one."""
    return (mean.square() + log_variance.exp() - 1 - log_variance) / 2
