"""How often the cause comes first: one feature of a normal vector is put out of range.

Of the vectors that alert because of it, the share whose explanation names that feature before all
others; on the benign test rows of each corpus, trained on its benign training rows.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import numpy as np

from monitor.batch import Matrix
from monitor.bench.bench import Bench
from monitor.bench.figures import Figure, Goal
from monitor.detect.detector import Detector
from monitor.detect.fit import FitOptions, fit
from monitor.ingest.files import open_vectors
from monitor.train import read_normal
from tests.bench.detection import Corpus, corpora
from tests.support.planting import plant

SEEDS = 2
BUDGETS = (0.001, 0.01)
MOST_VECTORS = 6_000
ROUNDS = 2
GOAL = Goal(">=", 95.0)


def run(bench: Bench, data: Path | None = None) -> Iterator[Figure]:
    for corpus in corpora(bench.folder, data):
        yield from _judge(bench, corpus)


def _judge(bench: Bench, corpus: Corpus) -> Iterator[Figure]:
    named: dict[float, list[float]] = defaultdict(list)
    flagged: dict[float, list[float]] = defaultdict(list)
    data = read_normal(corpus.training, corpus.spec, corpus.label_column, [corpus.benign])
    for seed in range(SEEDS):
        fitted = fit(corpus.spec, data.values, data.vocabularies, FitOptions(seed=seed))
        normal = _benign_test(corpus, fitted.detector)
        for budget in BUDGETS:
            detector = fitted.detector.with_budget(budget)
            planted = plant(detector, data.values, normal, ROUNDS, seed)
            named[budget].append(100 * planted.named_first_ratio)
            flagged[budget].append(100 * planted.flagged_ratio)
        bench.say(f"{corpus.name}, seed {seed}: {named[BUDGETS[0]][-1]:.1f} % named first")
    for budget in BUDGETS:
        what = f"{corpus.name}: planted feature named first, budget {budget:g}"
        note = f"of the {fmean(flagged[budget]):.1f} % of planted vectors that alert"
        yield Figure(what, "%", named[budget], GOAL, note, statistic=fmean)


def _benign_test(corpus: Corpus, detector: Detector) -> Matrix:
    """Some benign rows of the test file, by chance."""
    rows = open_vectors(corpus.test, corpus.spec, detector.vocabularies, corpus.label_column)
    benign = np.concatenate(
        [block.decoded.batch.values[np.array(block.labels) == corpus.benign] for block in rows]
    )
    return np.random.default_rng(1).permutation(benign)[:MOST_VECTORS]
