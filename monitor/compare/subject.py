"""What networks are compared on: normal rows to train on, other rows to judge by."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.batch import Matrix
from monitor.detect.vocabularies import Vocabulary, recoded
from monitor.errors import DataError
from monitor.features import FeatureSpec
from monitor.ingest.files import open_vectors
from monitor.train import MOST_VALUES, Thinned, TrainingData, read_normal

TEST_SHARE = 0.25

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Subject:
    """Rows of one or several files, and of the test file where there is one.

    Attributes:
        data: the normal rows; without a test file a part of them is not trained on.
        judged: (n, f) rows to judge by, as codes of the data's vocabularies: those of the test
            file, or without one the attacks.
        attack: (n,) whether each of them is one.
        source, test: names of the files; test is None where there is none.
    """

    spec: FeatureSpec
    data: TrainingData
    judged: Matrix
    attack: Flags
    source: str
    test: str | None

    @property
    def labelled(self) -> bool:
        """Whether there are attacks to find among normal rows."""
        return bool(self.attack.any()) and not (self.test and self.attack.all())

    def split(self, seed: int) -> tuple[Matrix, Matrix, Flags]:
        """Rows to train on; rows to judge by, and which of those are attacks."""
        normal = self.data.values
        if self.test:
            return normal, self.judged, self.attack
        normal = np.random.default_rng(seed).permutation(normal)
        kept = round(len(normal) * TEST_SHARE)
        attack = np.concatenate((np.zeros(kept, dtype=bool), self.attack))
        return normal[kept:], np.concatenate((normal[:kept], self.judged)), attack


def read_subject(
    files: Sequence[Path],
    spec: FeatureSpec,
    label_column: str | None = None,
    benign: Iterable[str] = (),
    test: Path | None = None,
) -> Subject:
    """Read the files to train on, and the test file or the attacks among the same rows.

    Of very many rows a part by chance is kept, so that memory is bounded.

    Raises:
        DataError: a file or the label column cannot be used, or there is nothing to train on or to
            judge by.
    """
    wanted = frozenset(label.strip() for label in benign)
    data = _joined(spec, [read_normal(file, spec, label_column, wanted) for file in files])
    kept = Thinned(MOST_VALUES // (len(spec) + 1))
    kept.add(np.empty((0, len(spec) + 1), np.float32))
    for file in [test] if test else files if label_column else []:
        for rows, flags in _labelled(file, spec, data.vocabularies, label_column, wanted):
            flagged = np.column_stack((rows, flags)).astype(np.float32)
            kept.add(flagged if test else flagged[flags])
    vectors = kept.vectors()
    judged, attack = vectors[:, :-1], vectors[:, -1] > 0
    if test and not len(judged):
        raise DataError(f"{test}: no row is a vector of the spec, so there is nothing to judge by.")
    source = ", ".join(file.name for file in files)
    return Subject(spec, data, judged, attack, source, test.name if test else None)


def _labelled(
    file: Path,
    spec: FeatureSpec,
    vocabularies: Sequence[Vocabulary],
    label_column: str | None,
    benign: frozenset[str],
) -> Iterator[tuple[Matrix, Flags]]:
    """Blocks of vectors, and which are attacks; none is where nothing is labelled."""
    for block in open_vectors(file, spec, vocabularies, label_column):
        values = block.decoded.batch.values
        labels = [None] * len(values) if block.labels is None else block.labels
        yield values, np.array([x is not None and x not in benign for x in labels], dtype=bool)


def _joined(spec: FeatureSpec, parts: Sequence[TrainingData]) -> TrainingData:
    """The rows of several files under vocabularies that hold the values of all."""
    if len(parts) == 1:
        return parts[0]
    columns = zip(*(part.vocabularies for part in parts), strict=True)
    common = tuple(tuple(dict.fromkeys(w for words in each for w in words)) for each in columns)
    values = [recoded(spec, part.values, part.vocabularies, common) for part in parts]
    rejected = sum(part.rejected for part in parts)
    return TrainingData(np.concatenate(values), common, rejected, parts[0].assumption)
