"""Labelled data becomes figures: how well a bundle tells attacks from normal traffic.

Labels are used to count, never to choose: the threshold is the bundle's own.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from monitor.detect.detector import Detector
from monitor.errors import DataError
from monitor.ingest.files import open_vectors

FALSE_POSITIVE_RATES = (0.01, 0.001)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scores of a labelled file.

    Attributes:
        errors: (n,) float32 reconstruction errors.
        labels: (n,) text; attack: (n,) bool, whether a label is not benign.
    """

    errors: NDArray[np.float32]
    labels: NDArray[np.str_]
    attack: NDArray[np.bool_]
    rejected: int
    threshold: float
    false_alarm_rate_target: float

    @property
    def detected(self) -> NDArray[np.bool_]:
        return self.errors > self.threshold

    def figures(self) -> dict[str, Any]:
        """Everything as plain values; a figure that needs both classes is null with one."""
        both = bool(self.attack.any() and not self.attack.all())
        return {
            "vectors": len(self.errors),
            "attacks": int(self.attack.sum()),
            "rejected": self.rejected,
            "auc_roc": float(roc_auc_score(self.attack, self.errors)) if both else None,
            "average_precision": (
                float(average_precision_score(self.attack, self.errors)) if both else None
            ),
            "tpr_at_fpr": {
                str(rate): self._true_positive_rate(rate) if both else None
                for rate in FALSE_POSITIVE_RATES
            },
            "threshold": self.threshold,
            "false_alarm_rate_target": self.false_alarm_rate_target,
            "false_alarm_rate_realised": _share(self.detected[~self.attack]),
            "detection_rate": _share(self.detected[self.attack]),
            "by_label": self._by_label(),
        }

    def _true_positive_rate(self, false_positive_rate: float) -> float:
        """The best true positive rate at no more than this false positive rate."""
        fpr, tpr, _ = roc_curve(self.attack, self.errors)
        return float(tpr[np.searchsorted(fpr, false_positive_rate, side="right") - 1])

    def _by_label(self) -> dict[str, dict[str, Any]]:
        counts = Counter(self.labels.tolist())
        return {
            label: {
                "vectors": count,
                "attack": bool(self.attack[self.labels == label][0]),
                "detection_rate": _share(self.detected[self.labels == label]),
            }
            for label, count in counts.most_common()
        }


def evaluate(
    detector: Detector, file: Path, label_column: str, benign: frozenset[str]
) -> Evaluation:
    """Score a labelled file with a trained detector.

    Raises:
        DataError: the file lacks a feature or the label column, or holds no vector.
    """
    errors: list[NDArray[np.float32]] = []
    labels: list[str] = []
    rejected = 0
    for block in open_vectors(file, detector.spec, detector.vocabularies, label_column):
        errors.append(detector.score(block.decoded.batch.values).errors)
        labels.extend(block.labels or ())
        rejected += len(block.decoded.rejects)
    if not labels:
        raise DataError(f"{file}: no row is a vector of the bundle's spec ({rejected} rejected).")
    found = np.array(labels)
    return Evaluation(
        errors=np.concatenate(errors),
        labels=found,
        attack=~np.isin(found, sorted(benign)),
        rejected=rejected,
        threshold=detector.threshold,
        false_alarm_rate_target=detector.false_alarm_rate,
    )


def _share(flags: NDArray[np.bool_]) -> float | None:
    return float(flags.mean()) if len(flags) else None
