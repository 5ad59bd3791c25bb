"""Data becomes a bundle: read, keep the normal rows, fit, save, report.

With a label column only rows with a benign label are trained on; without one every row is taken as
normal, and the bundle says so. Labels never reach the network in any other way.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import numpy as np

from monitor.batch import Matrix
from monitor.bundle import check_target, save
from monitor.contracts.manifest import Manifest, TrainingFacts
from monitor.detect.detector import Vocabulary
from monitor.detect.fit import FitOptions, Fitted, Progress, fit
from monitor.errors import DataError
from monitor.features import FeatureSpec
from monitor.ingest.files import open_vectors

ALL_NORMAL = "no label column was given: every row was taken as normal"


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The normal vectors of a file.

    Attributes:
        values: (n, f) float32 in spec order.
        rejected: rows that were no vectors of the spec.
        assumption: why the rows count as normal.
    """

    values: Matrix
    vocabularies: tuple[Vocabulary, ...]
    rejected: int
    assumption: str


@dataclass(frozen=True, slots=True)
class Trained:
    """What `train` made: the bundle's manifest and what its report shows."""

    manifest: Manifest
    fitted: Fitted
    data: TrainingData


def train(
    file: Path,
    spec: FeatureSpec,
    folder: Path,
    options: FitOptions,
    label_column: str | None = None,
    benign: Iterable[str] = (),
    progress: Progress = lambda *_: None,
    notice: Callable[[TrainingData], None] = lambda _: None,
) -> Trained:
    """Train on a file and save the bundle; nothing is written unless all of it succeeded.

    `notice` is told what was read, before the training starts.

    Raises:
        DataError: the file or the label column cannot be used, or there are too few normal rows.
        BundleError: the folder holds something else, or cannot be written.
    """
    check_target(folder)
    started = monotonic()
    data = read_normal(file, spec, label_column, benign)
    notice(data)
    fitted = fit(spec, data.values, data.vocabularies, options, progress)
    facts = TrainingFacts(
        source=file.name,
        trained_at=datetime.now(UTC).isoformat(timespec="seconds"),
        assumption=data.assumption,
        vectors=fitted.trained_vectors,
        vectors_held_back=len(fitted.held_back),
        rejected=data.rejected,
        seed=options.seed,
        epochs=fitted.history.epochs,
        best_epoch=fitted.history.best_epoch,
        seconds=round(monotonic() - started, 2),
    )
    return Trained(save(fitted.detector, facts, folder), fitted, data)


def read_normal(
    file: Path, spec: FeatureSpec, label_column: str | None = None, benign: Iterable[str] = ()
) -> TrainingData:
    """The vectors of a file's normal rows.

    Raises:
        DataError: the file or the label column cannot be used, or no row is normal.
    """
    wanted = frozenset(label.strip() for label in benign)
    if label_column is not None and not wanted:
        raise DataError(f"{file}: name the benign labels of column {label_column!r} (--benign).")
    if label_column is None and wanted:
        raise DataError(f"{file}: benign labels need the column that holds them (--label-column).")
    source = open_vectors(file, spec, label_column=label_column)
    parts: list[Matrix] = []
    labels: set[str] = set()
    rejected = 0
    for block in source:
        values = block.decoded.batch.values
        if block.labels is not None:
            labels.update(block.labels)
            values = values[np.array([label in wanted for label in block.labels], dtype=bool)]
        parts.append(values)
        rejected += len(block.decoded.rejects)
    normal = np.concatenate(parts) if parts else np.empty((0, len(spec)), np.float32)
    if not len(normal):
        raise DataError(f"{file}: {_nothing_normal(wanted, labels, rejected)}")
    assumption = (
        f"rows labelled {', '.join(sorted(wanted))} in column {label_column}"
        if label_column is not None
        else ALL_NORMAL
    )
    return TrainingData(normal, tuple(source.vocabularies()), rejected, assumption)


def _nothing_normal(wanted: frozenset[str], labels: set[str], rejected: int) -> str:
    if labels:
        found = ", ".join(repr(label) for label in sorted(labels)[:8])
        return f"no row is labelled {', '.join(sorted(wanted))}; the labels are {found}."
    return f"no row is a vector of the spec ({rejected} were rejected)."
