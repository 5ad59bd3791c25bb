"""Training and judging one network after the other."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from monitor.batch import Matrix
from monitor.bundle import save
from monitor.compare.subject import Flags, Subject
from monitor.compare.verdict import FALSE_POSITIVE_RATE, Comparison, Quality, Run
from monitor.detect.detector import Detector
from monitor.detect.fit import FitOptions, Progress, fit
from monitor.detect.vocabularies import recoded
from monitor.train import training_facts

SPEED_VECTORS = 16_384
SPEED_PASSES = 5
CURVE_POINTS = 300


def compare(
    subject: Subject,
    networks: Sequence[str],
    seeds: int,
    options: FitOptions,
    progress: Progress = lambda *_: None,
    notice: Callable[[Run], None] = lambda _: None,
) -> Comparison:
    """Train and judge each network with seeds 0 to `seeds` - 1; `notice` is told of each run.

    Raises:
        DataError: too few normal rows.
        SettingsError: there is no such network.
    """
    runs = []
    for network in networks:
        for seed in range(seeds):
            runs.append(_run(subject, replace(options, network=network, seed=seed), progress))
            notice(runs[-1])
    return Comparison(subject, options.false_alarm_rate, tuple(networks), seeds, tuple(runs))


def _run(subject: Subject, options: FitOptions, progress: Progress) -> Run:
    training, judged, attack = subject.split(options.seed)
    started = perf_counter()
    fitted = fit(subject.spec, training, subject.data.vocabularies, options, progress)
    seconds, detector = perf_counter() - started, fitted.detector
    judged = recoded(subject.spec, judged, subject.data.vocabularies, detector.vocabularies)
    scores = detector.score(judged)
    alarms = (scores.errors > scores.threshold)[~attack]
    facts = training_facts(fitted, subject.data, subject.source, options.seed, seconds)
    return Run(
        network=options.network,
        seed=options.seed,
        quality=_quality(attack, scores.errors) if subject.labelled else None,
        false_alarm_rate=float(alarms.mean()) if len(alarms) else None,
        training_seconds=seconds,
        vectors_per_second=_speed(detector, judged),
        bundle_bytes=_size(lambda folder: save(detector, facts, folder)),
    )


def _quality(attack: Flags, errors: NDArray[np.float32]) -> Quality:
    rates, detected, _ = roc_curve(attack, errors)
    affordable = np.searchsorted(rates, FALSE_POSITIVE_RATE, side="right") - 1
    shown = np.unique(np.geomspace(1, len(rates), CURVE_POINTS).astype(np.int64)) - 1
    return Quality(
        auc=float(roc_auc_score(attack, errors)),
        average_precision=float(average_precision_score(attack, errors)),
        detection_rate=float(detected[affordable]),
        curve=np.stack((rates[shown], detected[shown])),
    )


def _speed(detector: Detector, vectors: Matrix) -> float:
    """Vectors scored in a second, in the best of several passes."""
    vectors = np.resize(vectors, (SPEED_VECTORS, vectors.shape[1]))
    detector.score(vectors)  # the first pass also allocates
    seconds = []
    for _ in range(SPEED_PASSES):
        started = perf_counter()
        detector.score(vectors)
        seconds.append(perf_counter() - started)
    return len(vectors) / min(seconds)


def _size(write: Callable[[Path], object]) -> int:
    """Bytes on disk of the bundle that this writes."""
    with TemporaryDirectory(prefix="anomaly-monitor-") as parent:
        folder = Path(parent) / "bundle"
        write(folder)
        return sum(file.stat().st_size for file in folder.iterdir())
