"""Detector: transform, network and calibration as one thing that scores vectors.

A higher score is more anomalous, and scoring never changes state.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from monitor.batch import Matrix
from monitor.detect.budget import with_odds
from monitor.detect.calibration import Calibration
from monitor.detect.networks import Network
from monitor.detect.preprocess import Preprocessor
from monitor.detect.surprise import Surprise
from monitor.detect.vocabularies import Vocabulary
from monitor.features import FeatureSpec

INPUT_LIMIT = 3.0
"""Deviations beyond which an input no longer drives the network, only its own error."""

EXPLANATION_FLOOR = 0.3
"""Squared deviations below which an error explains nothing. A corrupted feature also disturbs the
reconstruction of others; where those are usually exact, that rightly raises the score, but it is an
effect and not the cause."""

SCORING_CHUNK = 4096
"""Vectors in one pass: past this the intermediates leave a CPU's cache."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What the detector thinks of (n,) vectors.

    Attributes:
        errors: (n,) float32 reconstruction errors.
        threshold: the error above which a vector is anomalous.
    """

    errors: NDArray[np.float32]
    threshold: float

    @property
    def anomalous(self) -> NDArray[np.int64]:
        """Positions of the vectors whose error exceeds the threshold."""
        return np.flatnonzero(self.errors > self.threshold)


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
        membership[torch.arange(preprocessor.inputs), preprocessor.source] = 1.0
        self.register_buffer("membership", membership, persistent=False)
        self.surprise = Surprise(preprocessor.features + network.penalties)

    def forward(self, values: Tensor) -> Tensor:
        """(n, f) float32 vectors to (n,) reconstruction errors, in nats."""
        surprises: Tensor = self.surprise(self.squared_errors(values))  # (n, f + p)
        return surprises.mean(dim=1)

    def squared_errors(self, values: Tensor) -> Tensor:
        """(n, f) float32 vectors to (n, f + p): squared errors of features, then penalties."""
        z = self.preprocessor(values)  # (n, f) -> (n, d)
        inputs = limited(z)
        reconstruction = self.network(inputs)
        squared = mean_of_members(self.by_feature(reconstruction, z))
        if not self.network.penalties:
            return squared
        return torch.cat((squared, self.network.penalise(inputs, reconstruction)), dim=1)

    def by_feature(self, reconstruction: Tensor, z: Tensor) -> Tensor:
        """([m,] n, d) reconstruction and (n, d) target to ([m,] n, f) squared errors."""
        squared: Tensor = (reconstruction - z).square() @ self.membership
        return squared

    def deviations(self, values: Tensor) -> Tensor:
        """(n, f) float32 vectors to (n, f): how far each feature is off, for explanations."""
        squared = self.squared_errors(values)
        telling = squared / (squared + EXPLANATION_FLOOR)
        deviations: Tensor = self.surprise(squared) * telling
        return deviations[:, : self.preprocessor.features]

    def expected(self, values: Tensor) -> Tensor:
        """(n, f) float32 vectors to (n, f) reconstructed ones, in natural units."""
        return self.preprocessor.natural(
            mean_of_members(self.network(limited(self.preprocessor(values))))
        )

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


class Detector:
    """A trained model on a device, with the calibration of its errors.

    Args:
        drift: the odds that a normal vector has a large error, as a multiple of those when
            calibrated.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        vocabularies: Sequence[Vocabulary],
        model: ReconstructionModel,
        calibration: Calibration,
        false_alarm_rate: float,
        device: torch.device | str = "cpu",
        drift: float = 1.0,
    ) -> None:
        self.spec = spec
        self.vocabularies = tuple(vocabularies)
        self.calibration = calibration
        self.false_alarm_rate = false_alarm_rate
        self.drift = drift
        self.threshold = calibration.threshold(with_odds(false_alarm_rate, 1 / drift))
        self.device = torch.device(device)
        self.model = model.to(self.device).eval()

    def with_budget(self, false_alarm_rate: float, drift: float = 1.0) -> "Detector":
        """The same model and calibration with another threshold; the rate is in (0, 1)."""
        return Detector(
            self.spec,
            self.vocabularies,
            self.model,
            self.calibration,
            false_alarm_rate,
            self.device,
            drift,
        )

    def tail_probability(self, errors: NDArray[np.float32]) -> NDArray[np.float64]:
        """The share of normal vectors expected above each error, in (0, 1]; same shape."""
        return with_odds(self.calibration.tail_probability(errors), self.drift)

    @torch.inference_mode()
    def score(self, values: Matrix) -> Scores:
        """Score (n, f) float32 vectors in spec order; n may be 0."""
        chunks = [self.model(part).cpu() for part in self._to_device(values)]
        errors = torch.cat(chunks).numpy() if chunks else np.empty(0, np.float32)
        return Scores(errors, self.threshold)

    @torch.inference_mode()
    def attribute(self, values: Matrix) -> tuple[Matrix, Matrix]:
        """Of (n, f) vectors, how far each feature is off, and its expected value; both (n, f)."""
        parts = list(self._to_device(values))
        if not parts:
            return values, values
        terms = torch.cat([self.model.deviations(part).cpu() for part in parts])
        expected = torch.cat([self.model.expected(part).cpu() for part in parts])
        return terms.numpy(), expected.numpy()

    @torch.inference_mode()
    def embed(self, values: Matrix) -> Matrix:
        """(n, f) float32 vectors in spec order to (n, k) float32 latent ones; n may be 0."""
        empty = torch.empty((0, len(self.spec)), device=self.device)
        parts = [self.model.embed(part).cpu() for part in self._to_device(values) or [empty]]
        return torch.cat(parts).numpy()

    def _to_device(self, values: Matrix) -> Sequence[Tensor]:
        tensor = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
        return [part.to(self.device) for part in torch.split(tensor, SCORING_CHUNK) if len(part)]
