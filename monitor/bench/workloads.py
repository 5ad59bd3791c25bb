"""What is sent through the monitor, and the bundles that judge it.

Two by default: the NSL-KDD traffic of the demo, 41 features of every kind as JSON objects, and a
synthetic stream of 115 numeric ones, the width of KitNET's published captures, as JSON arrays.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from monitor.batch import Matrix
from monitor.bench import synthetic
from monitor.bundle import load, save
from monitor.contracts.manifest import TrainingFacts
from monitor.demo.run import BENIGN, LABEL_COLUMN, SPEC, TEST, TRAINING
from monitor.detect.detector import Detector
from monitor.detect.fit import FitOptions, fit
from monitor.features import FeatureSpec
from monitor.ingest.files import open_vectors
from monitor.ingest.json_codec import JsonCodec
from monitor.ingest.replay import vector_records
from monitor.train import train

WIDE_FEATURES = 115
WIDE_TRAINING_VECTORS = 8_000
WIDE_VECTORS = 16_384
SMALL_HIDDEN = (64, 16)
"""115-64-16-64-115, the network whose rate is the yardstick of the Arrow pipeline."""
QUICK = FitOptions(min_steps=400, max_steps=400)
HASTY = FitOptions(min_steps=20, max_steps=20)
"""Speed does not depend on how well a network has learned."""
KINDS_OF_ANOMALY = 50


@dataclass(frozen=True, slots=True)
class Workload:
    """Traffic of one spec as JSON.

    Attributes:
        name: begins its rows.
        anomalies: vectors that surely alert.
    """

    name: str
    bundle: Path
    records: Sequence[bytes]
    anomalies: Sequence[bytes]

    @property
    def detector(self) -> Detector:
        return load(self.bundle, "cpu")[0]

    @property
    def values(self) -> Matrix:
        """(n, f): what the records say."""
        return decoded(self.detector, self.records)


def nsl_kdd(folder: Path) -> Workload:
    """The benign rows of KDDTest+; trained with the defaults on those of the 20 % file."""
    spec = FeatureSpec.load(SPEC)
    train(TRAINING, spec, folder, FitOptions(), LABEL_COLUMN, [BENIGN])
    records = list(vector_records(TEST, spec, LABEL_COLUMN))
    blocks = open_vectors(TEST, spec, label_column=LABEL_COLUMN)
    labels = [label for block in blocks for label in block.labels or ()]
    benign = [record for record, label in zip(records, labels, strict=True) if label == BENIGN]
    return _workload("41 features", folder, benign, records)


def wide(folder: Path, features: int = WIDE_FEATURES, options: FitOptions = QUICK) -> Workload:
    """Synthetic traffic, judged by the default network."""
    _train(folder, features, options)
    return _synthetic(f"{features} features", folder, features)


def small(folder: Path) -> Workload:
    """The same traffic, judged as after `monitor train --hidden 64,16 --members 1`."""
    _train(folder, WIDE_FEATURES, replace(QUICK, hidden=SMALL_HIDDEN, members=1))
    widths = "-".join(map(str, (*SMALL_HIDDEN, *SMALL_HIDDEN[-2::-1])))
    return _synthetic(f"{WIDE_FEATURES}-{widths}-{WIDE_FEATURES}", folder, WIDE_FEATURES)


def own(bundle: Path, data: Path, label_column: str | None) -> Workload:
    """A bundle and traffic of the user's."""
    spec = load(bundle, "cpu")[0].spec
    records = list(vector_records(data, spec, label_column))
    return _workload(f"{len(spec)} features", bundle, records, records)


def decoded(detector: Detector, records: Sequence[bytes]) -> Matrix:
    """(n, f) of those records that are vectors."""
    return JsonCodec(detector.spec, detector.vocabularies).decode(records).batch.values


def _synthetic(name: str, folder: Path, features: int) -> Workload:
    values = synthetic.vectors(features, WIDE_VECTORS, seed=1)
    # Features of different vectors: each is usual, together they are not.
    mixed = np.random.default_rng(2).permuted(values[:1000], axis=0)
    records = synthetic.json_arrays(values)
    return _workload(name, folder, records, synthetic.json_arrays(mixed))


def _workload(
    name: str, bundle: Path, records: Sequence[bytes], suspects: Sequence[bytes]
) -> Workload:
    """The suspects with the largest errors are its anomalies."""
    detector, _ = load(bundle, "cpu")
    batch = JsonCodec(detector.spec, detector.vocabularies).decode(suspects).batch
    scores = detector.score(batch.values)
    worst = np.argsort(-scores.errors)[: min(KINDS_OF_ANOMALY, len(scores.anomalous))]
    return Workload(name, bundle, records, [suspects[row] for row in batch.rows[worst]])


def _train(folder: Path, features: int, options: FitOptions) -> None:
    spec = synthetic.spec(features)
    values = synthetic.vectors(features, WIDE_TRAINING_VECTORS)
    fitted = fit(spec, values, [()] * features, options)
    facts = TrainingFacts(
        source="synthetic",
        trained_at=datetime.now(UTC).isoformat(timespec="seconds"),
        assumption="synthetic vectors",
        vectors=fitted.trained_vectors,
        vectors_held_back=len(fitted.held_back),
        left_out=0,
        rejected=0,
        seed=options.seed,
        epochs=fitted.history.epochs,
        best_epoch=fitted.history.best_epoch,
        seconds=0.0,
    )
    save(fitted.detector, facts, folder)
