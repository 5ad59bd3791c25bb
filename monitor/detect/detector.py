"""Detector: transform, network and calibration as one thing that scores vectors.

A higher score is more anomalous, and scoring never changes state.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monitor.batch import Matrix
from monitor.detect.budget import with_odds
from monitor.detect.calibration import Calibration
from monitor.detect.cpu_scorer import CpuScorer
from monitor.detect.cuda_scorer import CudaScorer
from monitor.detect.model import ReconstructionModel
from monitor.detect.scorer import Scorer
from monitor.detect.vocabularies import Vocabulary
from monitor.features import FeatureSpec

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


class Detector:
    """A trained model on a device, with the calibration of its errors.

    Args:
        drift: the odds that a normal vector has a large error, as a multiple of those when
            calibrated.
        threads: how many share the chunks of a call to `score`, where that is on a processor.
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
        threads: int = 1,
    ) -> None:
        self.spec = spec
        self.vocabularies = tuple(vocabularies)
        self.calibration = calibration
        self.false_alarm_rate = false_alarm_rate
        self.drift = drift
        self.threshold = calibration.threshold(with_odds(false_alarm_rate, 1 / drift))
        self.device = torch.device(device)
        self.model = model.to(self.device).eval()
        scorer = CudaScorer if self.device.type == "cuda" else CpuScorer
        self.scorer: Scorer = scorer(self.model, threads)

    def with_budget(self, false_alarm_rate: float, drift: float = 1.0) -> "Detector":
        """The same model and calibration with another threshold; the rate is in (0, 1)."""
        moved = copy(self)
        moved.false_alarm_rate, moved.drift = false_alarm_rate, drift
        moved.threshold = self.calibration.threshold(with_odds(false_alarm_rate, 1 / drift))
        return moved

    def tail_probability(self, errors: NDArray[np.float32]) -> NDArray[np.float64]:
        """The share of normal vectors expected above each error, in (0, 1]; same shape."""
        return with_odds(self.calibration.tail_probability(errors), self.drift)

    def score(self, values: Matrix) -> Scores:
        """Score (n, f) float32 vectors in spec order; n may be 0."""
        return Scores(self.scorer.errors(values), self.threshold)

    @torch.inference_mode()
    def attribute(self, values: Matrix) -> tuple[Matrix, Matrix]:
        """Of (n, f) vectors, how far each feature is off, and its expected value; both (n, f)."""
        parts = [self.model.attribute(part) for part in self._to_device(values)]
        if not parts:
            return values, values
        deviations, expected = (torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
        return deviations, expected

    @torch.inference_mode()
    def embed(self, values: Matrix) -> Matrix:
        """(n, f) float32 vectors in spec order to (n, k) float32 latent ones; n may be 0."""
        empty = torch.empty((0, len(self.spec)), device=self.device)
        parts = [self.model.embed(part).cpu() for part in self._to_device(values) or [empty]]
        return torch.cat(parts).numpy()

    def _to_device(self, values: Matrix) -> Sequence[Tensor]:
        tensor = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
        return [part.to(self.device) for part in torch.split(tensor, SCORING_CHUNK) if len(part)]
