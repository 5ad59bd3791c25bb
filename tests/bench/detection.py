"""How well the detector tells attacks from normal traffic: its defaults, several seeds.

NSL-KDD is trained on the benign rows of its 20 % file and judged on KDDTest+. With `--data DIR`,
from the folders `kdd99` and `cic-ids2017` of DIR: KDD Cup 1999, trained on the benign rows of the
10 % file and judged on `corrected`; CIC-IDS2017 (improved sample), trained on a random half of the
benign rows and judged on everything else.

Whether the promised false-alarm rate is kept is seen on normal vectors that are like the training
ones and were not used: of NSL-KDD the benign rows of the full training file (folder `nsl-kdd`)
beyond the 20 %, of CIC-IDS2017 the other half.
"""

import gzip
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from statistics import fmean

from monitor.bench.bench import Bench
from monitor.bench.figures import Figure, Goal
from monitor.bundle import load
from monitor.demo.run import BENIGN, LABEL_COLUMN, SPEC, TEST, TRAINING
from monitor.detect.detector import Detector
from monitor.detect.fit import FitOptions
from monitor.evaluate import evaluate
from monitor.features import FeatureSpec
from monitor.ingest.infer import infer_spec
from monitor.train import train

SEEDS = 5
PROMISED = (0.01, 0.001)
CIC_IGNORED = ("id", "Flow ID", "Src IP", "Src Port", "Dst IP", "Timestamp", "Attempted Category")


@dataclass(frozen=True, slots=True)
class Corpus:
    """Files to train on and to judge by, and what is benign in them.

    Attributes:
        unused: normal vectors like those of the training file, where there are some.
    """

    name: str
    spec: FeatureSpec
    training: Path
    test: Path
    label_column: str
    benign: str
    unused: Path | None = None


FOUND = "attacks found at 1 % false alarms"
GOALS = {
    "NSL-KDD": {"AUC": 0.978, "average precision": 0.978, FOUND: 65.0},
    "KDD Cup 1999": {"AUC": 0.980, "average precision": 0.994, FOUND: 90.0},
    "CIC-IDS2017": {"AUC": 0.970, "average precision": 0.996, FOUND: 40.0},
}


def run(bench: Bench, data: Path | None = None) -> Iterator[Figure]:
    for corpus in corpora(bench.folder, data):
        yield from _judge(bench, corpus, GOALS.get(corpus.name, {}))


def corpora(folder: Path, data: Path | None) -> Iterator[Corpus]:
    """NSL-KDD, and the others where there is a folder of them; what is made of them is left."""
    unused = _beyond_20_percent(folder, data) if data else None
    yield Corpus("NSL-KDD", FeatureSpec.load(SPEC), TRAINING, TEST, LABEL_COLUMN, BENIGN, unused)
    if data:
        yield _kdd99(data / "kdd99")
        yield _cic(folder, data / "cic-ids2017")


def _judge(bench: Bench, corpus: Corpus, at_least: Mapping[str, float]) -> Iterator[Figure]:
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for seed in range(SEEDS):
        for key, figure in _train_and_evaluate(corpus, seed, bench.folder).items():
            found[key].append(figure)
        bench.say(f"{corpus.name}, seed {seed}: AUC {found['AUC', ''][-1]:.4f}")
    for (name, unit), figures in found.items():
        goal = Goal(">=", at_least[name]) if name in at_least else None
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
        (FOUND, "%"): 100 * judged["tpr_at_fpr"]["0.01"],
        ("attacks that alert", "%"): 100 * judged["detection_rate"],
        ("benign vectors that alert", "%"): 100 * judged["false_alarm_rate_realised"],
        ("training", "s"): trained.manifest.training.seconds,
        **_kept(detector, corpus),
    }


def _kept(detector: Detector, corpus: Corpus) -> dict[tuple[str, str], float]:
    """How often normal vectors alert, as a multiple of what was promised."""
    if corpus.unused is None:
        return {}
    judged = evaluate(detector, corpus.unused, corpus.label_column, frozenset([corpus.benign]))
    errors = judged.errors[~judged.attack]
    return {
        (f"false alarms realised over promised, {rate:g}", ""): float(
            (errors > detector.calibration.threshold(rate)).mean() / rate
        )
        for rate in PROMISED
    }


def _beyond_20_percent(folder: Path, data: Path) -> Path:
    """The rows of the full training file after the official 20 %, which are its first ones."""
    rest = folder / "nsl-kdd-rest.txt"
    with gzip.open(TRAINING) as used, gzip.open(data / "nsl-kdd/KDDTrain+.txt.gz") as rows:
        count = sum(1 for _ in used)
        rest.write_bytes(b"".join(islice(rows, count, None)))
    return rest


def _kdd99(folder: Path) -> Corpus:
    training, test = folder / "kddcup.data_10_percent.gz", folder / "corrected.gz"
    return Corpus("KDD Cup 1999", FeatureSpec.load(SPEC), training, test, LABEL_COLUMN, "normal.")


def _cic(made: Path, folder: Path) -> Corpus:
    source = folder / "cicids2017_improved_sample.csv.gz"
    draft = infer_spec(source, label_column="Label", ignore=CIC_IGNORED)
    spec = FeatureSpec.parse(tomllib.loads(draft.toml), "cic")
    training, test = made / "cic-half.csv", made / "cic-rest.csv"
    random = Random(0)
    with gzip.open(source) as rows, training.open("wb") as half, test.open("wb") as rest:
        header = next(rows)
        half.write(header)
        rest.write(header)
        for row in rows:
            (half if b",BENIGN," in row and random.random() < 0.5 else rest).write(row)
    return Corpus("CIC-IDS2017", spec, training, test, "Label", "BENIGN", test)
