"""Labelled data becomes figures: how well a bundle tells attacks from normal traffic.

Labels are used to count, never to choose: the threshold is the bundle's own.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from monitor.batch import EventIdentity, Indices, Matrix
from monitor.detect.detector import Detector
from monitor.errors import DataError
from monitor.features import FeatureSpec
from monitor.ingest.files import open_vectors
from monitor.ingest.json_codec import JsonCodec
from monitor.ingest.replay import vector_records

FALSE_POSITIVE_RATES = (0.01, 0.001)
WORST_KEPT = 200
SAMPLE_KEPT = 1_500


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of a file.

    Attributes:
        keys: (k,) by which they were chosen, the smallest first.
        rows: (k,) positions in the file.
        values: (k, f) float32 vectors; errors: (k,) float32; label_codes: (k,) int32.
    """

    keys: NDArray[Any]
    rows: Indices
    values: Matrix
    errors: NDArray[np.float32]
    label_codes: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, which: Any, keys: NDArray[Any] | None = None) -> "Rows":
        """Those at positions or flags `which`, with other keys if need be."""
        new = self if keys is None else replace(self, keys=keys)
        return Rows(*(getattr(new, name)[which] for name in _COLUMNS))

    def best_with(self, others: "Rows", most: int) -> "Rows":
        """Of these and the others, at most so many with the smallest keys."""
        both = Rows(*(np.concatenate((getattr(self, n), getattr(others, n))) for n in _COLUMNS))
        return both.take(np.argsort(both.keys, kind="stable")[:most])


_COLUMNS = tuple(column.name for column in fields(Rows))


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scores of a labelled file; of its vectors only a few are kept.

    Attributes:
        errors: (n,) float32 reconstruction errors.
        label_names: each label once; label_codes: (n,) position of each row's in them.
        attack: (n,) bool, whether a row's label is not benign; attack_label: the same by label.
        misses: the attacks with the smallest errors; false_alarms: benign rows with the largest.
        sample: rows by chance, of each class as many.
    """

    errors: NDArray[np.float32]
    label_names: tuple[str, ...]
    label_codes: NDArray[np.int32]
    attack: NDArray[np.bool_]
    attack_label: NDArray[np.bool_]
    rejected: int
    threshold: float
    false_alarm_rate_target: float
    misses: Rows
    false_alarms: Rows
    sample: Rows

    @property
    def detected(self) -> NDArray[np.bool_]:
        return self.errors > self.threshold

    @property
    def has_both(self) -> bool:
        """Whether there are benign rows and attacks."""
        return bool(self.attack.any() and not self.attack.all())

    @property
    def unsaid(self) -> str | None:
        """What a file with only one class cannot tell, as a sentence."""
        if self.has_both:
            return None
        names = ", ".join(self.label_names[code] for code, _ in self.label_counts()[:8])
        if self.attack.any():
            return (
                "no row has a benign label, so neither false alarms nor the ranking of attacks "
                f"over normal traffic can be judged; the labels are {names}."
            )
        return (
            "every row has a benign label, so only false alarms can be judged, not what is found; "
            f"the labels are {names}."
        )

    def figures(self) -> dict[str, Any]:
        """Everything as plain values; a figure that needs both classes is null with one."""
        both = self.has_both
        return {
            "vectors": len(self.errors),
            "attacks": int(self.attack.sum()),
            "rejected": self.rejected,
            "auc_roc": float(roc_auc_score(self.attack, self.errors)) if both else None,
            "average_precision": (
                float(average_precision_score(self.attack, self.errors)) if both else None
            ),
            "tpr_at_fpr": {
                str(rate): _share(self.errors[self.attack] >= self.threshold_at(rate))
                if both
                else None
                for rate in FALSE_POSITIVE_RATES
            },
            "threshold": self.threshold,
            "false_alarm_rate_target": self.false_alarm_rate_target,
            "false_alarm_rate_realised": _share(self.detected[~self.attack]),
            "detection_rate": _share(self.detected[self.attack]),
            "by_label": self._by_label(),
        }

    def _by_label(self) -> dict[str, dict[str, Any]]:
        over = np.bincount(self.label_codes[self.detected], minlength=len(self.label_names))
        return {
            self.label_names[code]: {
                "vectors": count,
                "attack": bool(self.attack_label[code]),
                "detection_rate": float(over[code] / count),
            }
            for code, count in self.label_counts()
        }

    def threshold_at(self, false_positive_rate: float) -> float:
        """The smallest error such that no larger share of these benign rows reaches it."""
        fpr, _, thresholds = roc_curve(self.attack, self.errors)
        return float(thresholds[np.searchsorted(fpr, false_positive_rate, side="right") - 1])

    def label_counts(self) -> list[tuple[int, int]]:
        """Code and number of rows of each label, most frequent first."""
        counts = np.bincount(self.label_codes)
        return [(int(code), int(counts[code])) for code in np.argsort(-counts, kind="stable")]


def evaluate(
    detector: Detector, file: Path, label_column: str, benign: frozenset[str]
) -> Evaluation:
    """Score a labelled file with a trained detector.

    Memory holds a block of the file, eight bytes for each row, and the few rows that are kept.

    Raises:
        DataError: the file lacks a feature or the label column, or holds no vector.
    """
    known: dict[str, int] = {}
    scored: list[tuple[NDArray[np.float32], NDArray[np.int32]]] = []
    misses = false_alarms = benign_sample = attack_sample = _no_rows(len(detector.spec))
    rejected, first_reject, random = 0, None, np.random.default_rng(0)
    for block in open_vectors(file, detector.spec, detector.vocabularies, label_column):
        batch = block.decoded.batch
        codes = np.array([known.setdefault(x, len(known)) for x in block.labels or ()], np.int32)
        errors = detector.score(batch.values).errors
        rows = Rows(errors, batch.rows, batch.values, errors, codes)
        attack, chance = _is_attack(known, benign)[codes], random.random(len(batch))
        misses = misses.best_with(rows.take(attack), WORST_KEPT)
        false_alarms = false_alarms.best_with(rows.take(~attack, -errors), WORST_KEPT)
        benign_sample = benign_sample.best_with(rows.take(~attack, chance), SAMPLE_KEPT)
        attack_sample = attack_sample.best_with(rows.take(attack, chance), SAMPLE_KEPT)
        scored.append((errors, codes))
        rejected += len(block.decoded.rejects)
        first_reject = first_reject or block.decoded.first_reject
    if not known:
        raise DataError(
            f"{file}: no row is a vector of the bundle's spec; {rejected:,} were rejected, the "
            f"first: {first_reject or 'none'}."
        )
    all_errors, label_codes = (np.concatenate(parts) for parts in zip(*scored, strict=True))
    attack_label = _is_attack(known, benign)
    return Evaluation(
        errors=all_errors,
        label_names=tuple(known),
        label_codes=label_codes,
        attack=attack_label[label_codes],
        attack_label=attack_label,
        rejected=rejected,
        threshold=detector.threshold,
        false_alarm_rate_target=detector.false_alarm_rate,
        misses=misses,
        false_alarms=false_alarms,
        sample=benign_sample.best_with(attack_sample, 2 * SAMPLE_KEPT),
    )


def reread(file: Path, spec: FeatureSpec, rows: Iterable[int]) -> dict[int, EventIdentity]:
    """What a few rows of a file, by position, say of themselves, in the file's own words."""
    wanted = set(rows)
    codec = JsonCodec(spec, [()] * len(spec))
    found: dict[int, EventIdentity] = {}
    for row, record in enumerate(vector_records(file, spec)):
        if len(found) == len(wanted):
            break
        if row in wanted:
            found[row] = codec.identify(record)
    return found


def _no_rows(features: int) -> Rows:
    none = np.empty(0, np.float32)
    return Rows(
        none,
        np.empty(0, np.int64),
        np.empty((0, features), np.float32),
        none,
        none.astype(np.int32),
    )


def _is_attack(known: Iterable[str], benign: frozenset[str]) -> NDArray[np.bool_]:
    return np.array([label not in benign for label in known], dtype=bool)


def _share(flags: NDArray[np.bool_]) -> float | None:
    return float(flags.mean()) if len(flags) else None
