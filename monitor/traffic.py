"""A file of recent traffic, scored: nobody says which of it is normal."""

from pathlib import Path

import numpy as np

from monitor.batch import Matrix
from monitor.detect.detector import Detector
from monitor.errors import DataError
from monitor.ingest.files import open_vectors


def score_traffic(detector: Detector, file: Path) -> Matrix:
    """The (n,) reconstruction errors of a file's vectors, read in blocks.

    Raises:
        DataError: the file cannot be read, lacks a feature, or holds no vector.
    """
    rejected, errors = 0, []
    for block in open_vectors(file, detector.spec, detector.vocabularies):
        errors.append(detector.score(block.decoded.batch.values).errors)
        rejected += len(block.decoded.rejects)
    if not sum(map(len, errors)):
        raise DataError(f"{file}: no row is a vector of the bundle's spec ({rejected} rejected).")
    return np.concatenate(errors)
