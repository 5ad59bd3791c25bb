"""Others that score the same vectors, where they are installed (the extra `bench`)."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from time import perf_counter

import numpy as np

from monitor.batch import Matrix
from monitor.bench.bench import Bench
from monitor.bench.figures import Figure, Goal
from monitor.bench.processes import apart
from monitor.bench.workloads import WIDE_FEATURES
from monitor.detect.detector import Detector

OVER_KITNET = Goal(">=", 500)
KITNET_GRACE_VECTORS = 500
KITNET_VECTORS = 500
PYOD_BATCH = 4_096
PYOD_TRAINING_VECTORS = 4_000
PYOD_REPETITIONS = 5
_NEEDS = {"bytewax": ("confluent_kafka",), "pyod": ("tqdm",)}


def beside(
    bench: Bench, name: str, detector: Detector, values: Matrix, rates: Sequence[float]
) -> Iterator[Figure]:
    """Our rates over theirs, on (n, f) vectors of one workload."""
    if values.shape[1] == WIDE_FEATURES:
        title = f"{name}: scoring over KitNET's published code"
        note = "KitNET-py as pysad ships it, its execute phase alone"
        kitnet = partial(kitnet_rate, values)
        yield compare(bench, title, rates, "pysad", kitnet, note, OVER_KITNET)
    hidden = list(getattr(detector.model.network, "hidden", (64, 32)))
    note = f"one network with layers of {'-'.join(map(str, hidden))}, {PYOD_BATCH:,} a call"
    pyod = partial(pyod_rate, _transformed(detector, values), hidden)
    yield compare(bench, f"{name}: scoring over PyOD's AutoEncoder", rates, "pyod", pyod, note)


def compare(
    bench: Bench,
    title: str,
    ours: Sequence[float],
    package: str,
    theirs: Callable[[], float],
    note: str,
    goal: Goal | None = None,
) -> Figure:
    """Our rates over that of a package, which runs apart; skipped where it cannot."""
    if not all(map(find_spec, (package, *_NEEDS.get(package, ())))):
        reason = f"{package} is not installed: pip install 'anomaly-monitor[bench]'"
        return Figure.skipped(title, reason)
    bench.say(title)
    try:
        rate = apart(theirs).result()
    except Exception as error:  # whatever others raise: their row alone goes without
        return Figure.skipped(title, f"{type(error).__name__}: {error}")
    note = f"{rate:,.0f} vectors/s; {note}"
    return Figure(title, "times", [own / rate for own in ours], goal, note)


def kitnet_rate(values: Matrix) -> float:
    """Vectors a second that KitNET scores once it has learned (Mirsky et al., NDSS 2018)."""
    from pysad.models.kitnet_model.KitNET import KitNET

    vectors = values.astype(np.float64)
    grace = min(KITNET_GRACE_VECTORS, len(vectors) // 3)
    model = KitNET(
        vectors.shape[1], max_autoencoder_size=10, FM_grace_period=grace, AD_grace_period=grace
    )
    for vector in vectors[: 2 * grace + 2]:
        model.process(vector)
    rest = vectors[2 * grace + 2 :][:KITNET_VECTORS]
    started = perf_counter()
    for vector in rest:
        model.execute(vector)
    return len(rest) / (perf_counter() - started)


def pyod_rate(values: Matrix, hidden: list[int]) -> float:
    """Vectors a second that PyOD's AutoEncoder scores; what it has learned does not matter."""
    from pyod.models.auto_encoder import AutoEncoder

    model = AutoEncoder(epoch_num=1, hidden_neuron_list=hidden, verbose=0, device="cpu")
    model.fit(values[:PYOD_TRAINING_VECTORS])
    batch = values[:PYOD_BATCH]
    score = partial(model.decision_function, batch, batch_size=PYOD_BATCH)  # by itself 32 at a time
    score()
    seconds = []
    for _ in range(PYOD_REPETITIONS):
        started = perf_counter()
        score()
        seconds.append(perf_counter() - started)
    return len(batch) / min(seconds)


def _transformed(detector: Detector, values: Matrix) -> Matrix:
    """As networks see them: PyOD has no transform for heavy tails."""
    import torch

    transformed: Matrix = detector.model.preprocessor(torch.from_numpy(values)).numpy()
    return transformed
