"""How well the detector tells attacks from normal traffic: its defaults, several seeds.

NSL-KDD is trained on the benign rows of its 20 % file and judged on KDDTest+. With `--data DIR`
KDD Cup 1999 and CIC-IDS2017 join, from the folders `kdd99` and `cic-ids2017` of DIR.
"""

import gzip
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from monitor.bundle import load
from monitor.demo.run import BENIGN, LABEL_COLUMN, TEST, TRAINING
from monitor.detect.fit import FitOptions
from monitor.evaluate import evaluate
from monitor.features import FeatureSpec
from monitor.ingest.infer import infer_spec
from monitor.train import train
from tests.bench.bench import Bench
from tests.bench.figures import Figure

SEEDS = 5
MONDAY = b",2017-07-03 "
"""In the first day of CIC-IDS2017 there are no attacks."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Files to train on and to judge by, and what is benign in them."""

    name: str
    spec: FeatureSpec
    training: Path
    test: Path
    label_column: str
    benign: str


GOALS = {"NSL-KDD": {"AUC": 0.970, "average precision": 0.965}}


def run(bench: Bench) -> Iterator[Figure]:
    for corpus in corpora(bench):
        yield from _judge(bench, corpus, GOALS.get(corpus.name, {}))


def corpora(bench: Bench) -> Iterator[Corpus]:
    """NSL-KDD, and the others where there is a folder of them."""
    yield Corpus("NSL-KDD", bench.spec, TRAINING, TEST, LABEL_COLUMN, BENIGN)
    if bench.data:
        yield _kdd99(bench, bench.data / "kdd99")
        yield _cic(bench, bench.data / "cic-ids2017")


def _judge(bench: Bench, corpus: Corpus, at_least: Mapping[str, float]) -> Iterator[Figure]:
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for seed in range(SEEDS):
        for key, figure in _train_and_evaluate(corpus, seed, bench.folder).items():
            found[key].append(figure)
        bench.say(f"{corpus.name}, seed {seed}: AUC {found['AUC', ''][-1]:.4f}")
    for (name, unit), figures in found.items():
        goal = (">=", at_least[name]) if name in at_least else None
        yield Figure(f"{corpus.name}: {name}", unit, figures, goal, statistic=fmean)


def _train_and_evaluate(corpus: Corpus, seed: int, folder: Path) -> dict[tuple[str, str], float]:
    """Figures by name and unit."""
    bundle = folder / f"{corpus.name}-{seed}"
    options, benign = FitOptions(seed=seed), [corpus.benign]
    trained = train(corpus.training, corpus.spec, bundle, options, corpus.label_column, benign)
    detector, _ = load(bundle, "cpu")
    judged = evaluate(detector, corpus.test, corpus.label_column, frozenset(benign)).figures()
    return {
        ("AUC", ""): judged["auc_roc"],
        ("average precision", ""): judged["average_precision"],
        ("attacks found at 1 % false alarms", "%"): 100 * judged["tpr_at_fpr"]["0.01"],
        ("attacks that alert", "%"): 100 * judged["detection_rate"],
        ("benign vectors that alert", "%"): 100 * judged["false_alarm_rate_realised"],
        ("training", "s"): trained.manifest.training.seconds,
    }


def _kdd99(bench: Bench, folder: Path) -> Corpus:
    training, test = folder / "kddcup.data_10_percent.gz", folder / "corrected.gz"
    return Corpus("KDD Cup 1999", bench.spec, training, test, LABEL_COLUMN, "normal.")


def _cic(bench: Bench, folder: Path) -> Corpus:
    """Trained on Monday, judged on the other days."""
    source = folder / "cicids2017_improved_sample.csv.gz"
    spec = FeatureSpec.parse(tomllib.loads(infer_spec(source, label_column="Label").toml), "cic")
    training, test = bench.folder / "cic-monday.csv", bench.folder / "cic-other-days.csv"
    with gzip.open(source) as rows, training.open("wb") as monday, test.open("wb") as others:
        header = next(rows)
        monday.write(header)
        others.write(header)
        for row in rows:
            (monday if MONDAY in row else others).write(row)
    return Corpus("CIC-IDS2017", spec, training, test, "Label", "BENIGN")
