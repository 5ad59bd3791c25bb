"""From a vector to its error: transform, network, and how the errors of features become one."""

import torch
from torch import Tensor, nn

from monitor.detect.networks import Network
from monitor.detect.preprocess import Preprocessor
from monitor.detect.surprise import Surprise

INPUT_LIMIT = 3.0
"""Deviations beyond which an input no longer drives the network, only its own error."""

EXPLANATION_FLOOR = 0.3
"""Squared deviations below which an error explains nothing. A corrupted feature also disturbs the
reconstruction of others; where those are usually exact, that rightly raises the score, but it is an
effect and not the cause."""


class ReconstructionModel(nn.Module):
    """Preprocessor and network, and how the errors of features become the error of a vector.

    A feature's squared reconstruction error (summed over its one-hot inputs, averaged over the
    network's members) is judged by how seldom training vectors have it: `monitor.detect.surprise`.
    """

    membership: Tensor

    def __init__(self, preprocessor: Preprocessor, network: Network) -> None:
        super().__init__()
        self.preprocessor = preprocessor
        self.network = network
        membership = torch.zeros(preprocessor.inputs, preprocessor.features)
        membership[torch.arange(preprocessor.inputs), preprocessor.source.cpu()] = 1.0
        self.register_buffer("membership", membership, persistent=False)
        self._input_a_feature = torch.equal(membership, torch.eye(*membership.shape))
        self.surprise = Surprise(preprocessor.features + network.penalties)

    def forward(self, values: Tensor) -> Tensor:
        """(n, f) float32 vectors to (n,) reconstruction errors, in nats."""
        surprises: Tensor = self.surprise(self.squared_errors(values))  # (n, f + p)
        return surprises.mean(dim=1)

    def squared_errors(self, values: Tensor) -> Tensor:
        """(n, f) float32 vectors to (n, f + p): squared errors of features, then penalties."""
        return self._squared_errors(*self._reconstruct(values))

    def attribute(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Of (n, f) float32 vectors, for explanations: how far each feature is off, and what it was
        expected to be, in natural units; both (n, f)."""
        z, inputs, reconstruction = self._reconstruct(values)
        squared = self._squared_errors(z, inputs, reconstruction)
        telling = squared / (squared + EXPLANATION_FLOOR)
        deviations: Tensor = self.surprise(squared) * telling
        expected = self.preprocessor.natural(mean_of_members(reconstruction))
        return deviations[:, : self.preprocessor.features], expected

    def _reconstruct(self, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(n, f) vectors to (n, d) transformed ones, as the network sees them, reconstructed."""
        z = self.preprocessor(values)
        inputs = limited(z)
        return z, inputs, self.network(inputs)

    def _squared_errors(self, z: Tensor, inputs: Tensor, reconstruction: Tensor) -> Tensor:
        squared = self.by_feature(mean_of_members((reconstruction - z).square()))
        if not self.network.penalties:
            return squared
        return torch.cat((squared, self.network.penalise(inputs, reconstruction)), dim=1)

    def by_feature(self, squared: Tensor) -> Tensor:
        """([m,] n, d) squared errors of inputs to ([m,] n, f) of features."""
        return squared if self._input_a_feature else squared @ self.membership

    def embed(self, values: Tensor) -> Tensor:
        """(n, f) float32 vectors to (n, k) latent ones."""
        return self.network.encode(limited(self.preprocessor(values)))


def mean_of_members(results: Tensor, axes: int = 2) -> Tensor:
    """Results of a network's m members, ([m,] n, ...), to what a single one has: so many axes."""
    return results.mean(dim=0) if results.ndim > axes else results


def limited(z: Tensor) -> Tensor:
    """Transformed vectors as networks see them.

    One wild feature then shows in its own error, and does not throw the reconstruction of all the
    others.
    """
    return z.clamp(-INPUT_LIMIT, INPUT_LIMIT)
