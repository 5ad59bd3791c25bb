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
from numpy.typing import NDArray

from monitor.batch import Matrix
from monitor.bundle import check_target, save
from monitor.contracts.manifest import Manifest, TrainingFacts
from monitor.detect.fit import FitOptions, Fitted, Progress, fit
from monitor.detect.vocabularies import Vocabulary
from monitor.errors import DataError
from monitor.features import FeatureSpec
from monitor.ingest.files import open_vectors

MOST_VALUES = 1 << 25
"""128 MiB of float32. Training looks at some million vectors at most, whatever the file holds."""

ALL_NORMAL = "no label column was given: every row was taken as normal"


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The normal vectors of a file.

    Attributes:
        values: (n, f) float32 in spec order.
        rejected: rows that were no vectors of the spec.
        assumption: why the rows count as normal.
        first_reject: the first of the rejected rows and what is wrong with it.
        thinned_from: how many normal rows there are, where the vectors are a part of them.
    """

    values: Matrix
    vocabularies: tuple[Vocabulary, ...]
    rejected: int
    assumption: str
    first_reject: str | None = None
    thinned_from: int | None = None


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
    facts = training_facts(fitted, data, file.name, options.seed, monotonic() - started)
    return Trained(save(fitted.detector, facts, folder), fitted, data)


def training_facts(
    fitted: Fitted, data: TrainingData, source: str, seed: int, seconds: float
) -> TrainingFacts:
    """What the manifest says of a training that ends now."""
    return TrainingFacts(
        source=source,
        trained_at=datetime.now(UTC).isoformat(timespec="seconds"),
        assumption=data.assumption,
        vectors=fitted.trained_vectors,
        vectors_held_back=len(fitted.held_back),
        left_out=fitted.left_out,
        rejected=data.rejected,
        seed=seed,
        epochs=fitted.history.epochs,
        best_epoch=fitted.history.best_epoch,
        seconds=round(seconds, 2),
    )


def read_normal(
    file: Path,
    spec: FeatureSpec,
    label_column: str | None = None,
    benign: Iterable[str] = (),
    most_values: int = MOST_VALUES,
) -> TrainingData:
    """The vectors of a file's normal rows; of very many a part by chance, to bound memory.

    Args:
        most_values: numbers, in all vectors together, that are kept at least where there are more;
            twice as many are kept at most.

    Raises:
        DataError: the file or the label column cannot be used, no row is normal, or all are alike.
    """
    wanted = frozenset(label.strip() for label in benign)
    if label_column is not None and not wanted:
        raise DataError(f"{file}: name the benign labels of column {label_column!r} (--benign).")
    if label_column is None and wanted:
        raise DataError(f"{file}: benign labels need the column that holds them (--label-column).")
    source = open_vectors(file, spec, label_column=label_column)
    labels: set[str] = set()
    rejected, first_reject = 0, None
    normal = Thinned(max(most_values // len(spec), 1))
    for block in source:
        values = block.decoded.batch.values
        if block.labels is not None:
            labels.update(block.labels)
            values = values[np.array([label in wanted for label in block.labels], dtype=bool)]
        normal.add(values)
        rejected += len(block.decoded.rejects)
        first_reject = first_reject or block.decoded.first_reject
    if not normal.offered:
        raise DataError(f"{file}: {_nothing_normal(wanted, labels, rejected, first_reject)}")
    vectors = normal.vectors()
    if len(vectors) > 1 and (vectors == vectors[0]).all():
        raise DataError(
            f"{file}: all {normal.offered:,} normal rows are the same vector, so there is nothing "
            "to learn from them; give data that varies."
        )
    assumption = (
        f"rows labelled {', '.join(sorted(wanted))} in column {label_column}"
        if label_column is not None
        else ALL_NORMAL
    )
    thinned_from = normal.offered if len(vectors) < normal.offered else None
    vocabularies = tuple(source.vocabularies())
    return TrainingData(vectors, vocabularies, rejected, assumption, first_reject, thinned_from)


class Thinned:
    """Vectors of a stream of unknown length, each as likely kept as any other.

    Whenever more than twice `least` are kept, each of them is dropped by the toss of a coin, and
    so is every later one as often as those before it were.
    """

    def __init__(self, least: int) -> None:
        self.offered = 0
        self._least, self._kept, self._share = least, 0, 1.0
        self._parts: list[tuple[NDArray[np.float64], Matrix]] = []
        self._random = np.random.default_rng(0)

    def add(self, values: Matrix) -> None:
        self.offered += len(values)
        self._keep(self._random.random(len(values)), values)
        while self._kept > 2 * self._least:
            self._share /= 2
            parts, self._parts, self._kept = self._parts, [], 0
            for lots, vectors in parts:
                self._keep(lots, vectors)

    def _keep(self, lots: NDArray[np.float64], vectors: Matrix) -> None:
        lucky = lots < self._share
        self._parts.append((lots, vectors) if lucky.all() else (lots[lucky], vectors[lucky]))
        self._kept += int(lucky.sum())

    def vectors(self) -> Matrix:
        return np.concatenate([vectors for _, vectors in self._parts])


def _nothing_normal(
    wanted: frozenset[str], labels: set[str], rejected: int, first_reject: str | None
) -> str:
    if labels:
        found = ", ".join(repr(label) for label in sorted(labels)[:8])
        return f"no row is labelled {', '.join(sorted(wanted))}; the labels are {found}."
    if first_reject is None:
        return "there is no row in it; give a file with data."
    return f"no row is a vector of the spec; {rejected:,} were rejected, the first: {first_reject}."
