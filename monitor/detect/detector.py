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
from monitor.detect.calibration import Calibration
from monitor.detect.networks import DenseAutoencoder
from monitor.detect.preprocess import Preprocessor
from monitor.features import FeatureSpec

INPUT_LIMIT = 3.0
"""Deviations beyond which an input no longer drives the network, only its own error."""

EXPLANATION_FLOOR = 0.3
"""Squared deviations below which an error explains nothing. A corrupted feature also disturbs the
reconstruction of others; where those are usually exact, that rightly raises the score, but it is an
effect and not the cause."""

SCORING_CHUNK = 4096
"""Vectors in one pass: past this the intermediates leave a CPU's cache."""

Vocabulary = tuple[str, ...]


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
    """Preprocessor and network, giving each feature's share of the reconstruction error.

    The error of a vector is the mean over its features of log(1 + e / s), where e is the feature's
    squared reconstruction error (summed over its one-hot inputs) and s its usual size in normal
    traffic. This is the negative log-likelihood of a Cauchy residual up to constants (the
    Lorentzian loss; Black & Rangarajan, IJCV 1996): a vector that is a little wrong everywhere
    outweighs one that is very wrong in a single heavy-tailed feature, as attacks outweigh bursts.
    """

    error_scale: Tensor
    membership: Tensor

    def __init__(self, preprocessor: Preprocessor, network: DenseAutoencoder) -> None:
        super().__init__()
        self.preprocessor = preprocessor
        self.network = network
        membership = torch.zeros(preprocessor.inputs, preprocessor.features)
        membership[torch.arange(preprocessor.inputs), preprocessor.source] = 1.0
        self.register_buffer("membership", membership, persistent=False)
        self.register_buffer("error_scale", torch.ones(preprocessor.features))

    def squared_errors(self, values: Tensor) -> Tensor:
        """(n, f) float32 vectors to (n, f) squared reconstruction errors of their features."""
        z = self.preprocessor(values)  # (n, f) -> (n, d)
        squared = (self.reconstruct(z) - z).square()
        return torch.mm(squared, self.membership)  # (n, d) -> (n, f)

    def reconstruct(self, z: Tensor) -> Tensor:
        """(n, d) network inputs to their (n, d) reconstruction.

        Inputs are limited on their way into the network: one wild feature then shows in its own
        error, and does not throw the reconstruction of all the others.
        """
        reconstruction: Tensor = self.network(z.clamp(-INPUT_LIMIT, INPUT_LIMIT))
        return reconstruction

    def feature_errors(self, values: Tensor) -> Tensor:
        """(n, f) float32 vectors to the (n, f) terms whose mean is the reconstruction error."""
        return torch.log1p(self.squared_errors(values) / self.error_scale)

    def deviations(self, values: Tensor) -> Tensor:
        """(n, f) float32 vectors to (n, f): how far each feature is off, for explanations."""
        return torch.log1p(self.squared_errors(values) / (self.error_scale + EXPLANATION_FLOOR))

    def forward(self, values: Tensor) -> Tensor:
        """(n, f) float32 vectors to (n,) reconstruction errors."""
        return self.feature_errors(values).mean(dim=1)

    def expected(self, values: Tensor) -> Tensor:
        """(n, f) float32 vectors to (n, f) reconstructed ones, in natural units."""
        return self.preprocessor.natural(self.reconstruct(self.preprocessor(values)))


class Detector:
    """A trained model on a device, with the calibration of its errors."""

    def __init__(
        self,
        spec: FeatureSpec,
        vocabularies: Sequence[Vocabulary],
        model: ReconstructionModel,
        calibration: Calibration,
        false_alarm_rate: float,
        device: torch.device | str = "cpu",
    ) -> None:
        self.spec = spec
        self.vocabularies = tuple(vocabularies)
        self.calibration = calibration
        self.false_alarm_rate = false_alarm_rate
        self.threshold = calibration.threshold(false_alarm_rate)
        self.device = torch.device(device)
        self.model = model.to(self.device).eval()

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

    def _to_device(self, values: Matrix) -> Sequence[Tensor]:
        tensor = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
        return [part.to(self.device) for part in torch.split(tensor, SCORING_CHUNK) if len(part)]
