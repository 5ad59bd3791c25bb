"""A float32 matrix to errors: the detector alone, beside the least that its network costs.

Both have as many threads, those that torch takes by default.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from statistics import median

import torch
from torch import Tensor, nn

from monitor.batch import Matrix
from monitor.bench import peers
from monitor.bench.bench import Bench
from monitor.bench.figures import Figure, Goal
from monitor.bench.timing import seconds_a_call
from monitor.bundle import load
from monitor.detect.detector import Detector
from monitor.detect.model import ReconstructionModel, limited
from monitor.detect.networks.dense import DenseAutoencoder

BATCHES = (1024, 4096)
BARE_BATCHES = (256, 512, 1024, 2048, 4096, 8192, 16384, 65536)
GOAL = Goal(">=", 0.85)

Call = Callable[[], object]


def run(bench: Bench) -> Iterator[Figure]:
    workloads = {workload.name: workload for workload in (*bench.workloads, *bench.volume)}
    for workload in workloads.values():
        bench.say(f"{workload.name}: scoring")
        detector, _ = load(workload.bundle, "cpu", torch.get_num_threads())
        values = workload.values
        best: Sequence[float] = ()
        for batch in BATCHES:
            ours, ratio = _beside_bare(workload.name, detector, _batch(values, batch))
            best = max(best, ours.all, key=lambda rates: median(rates or (0.0,)))
            yield ours
            yield ratio
        yield from peers.beside(bench, workload.name, detector, values, best)


def bare_rate(detector: Detector, values: Matrix) -> tuple[float, int]:
    """Vectors a second of a bare forward pass and mean squared error, at the batch that suits best.

    All cores that this process may use share its operations.

    Returns:
        The rate, and the batch.
    """
    rates = []
    with torch.inference_mode(), _threads(len(os.sched_getaffinity(0))):
        for batch in BARE_BATCHES:
            z = _inputs(detector.model, _batch(values, batch))
            [*seconds] = seconds_a_call(_bare(detector.model, z), turns=3).values()
            rates.append((batch / min(map(min, seconds)), batch))
    return max(rates)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


def _beside_bare(name: str, detector: Detector, values: Matrix) -> tuple[Figure, Figure]:
    with torch.inference_mode():
        z = _inputs(detector.model, values)
        bare = _bare(detector.model, z)
        seconds = seconds_a_call({"ours": lambda: detector.score(values), **bare})
    ours = seconds.pop("ours")
    best, least = min(seconds.items(), key=lambda item: sum(item[1]))
    title = f"{name}: scoring, {len(values):,} at a time"
    rates = [len(values) / taken for taken in ours]
    ratios = [bare / taken for bare, taken in zip(least, ours, strict=True)]
    note = f"bare: {best}, {len(values) / min(least):,.0f} vectors/s"
    return (
        Figure(title, "vectors/s", rates, note=_parts(detector.model, values)),
        Figure(f"{title}, over a bare forward pass and error", "", ratios, GOAL, note),
    )


def _bare(model: ReconstructionModel, z: Tensor) -> Mapping[str, Call]:
    """Ways to reconstruct (n, d) inputs and take the mean squared error of each, (n,)."""
    ways: dict[str, Call] = {"the network as it is": lambda: _error(model.network(z), z)}
    if isinstance(model.network, DenseAutoencoder):
        members = stacks(model.network)
        ways["nn.Linear layers"] = lambda: sum(_error(stack(z), z) for stack in members)
    return ways


def _error(reconstruction: Tensor, z: Tensor) -> Tensor:
    return (reconstruction - z).square().mean(dim=-1)


def stacks(network: DenseAutoencoder) -> list[nn.Sequential]:
    """The members of a dense network, one by one, of PyTorch's own layers."""
    tensors = network.state_dict()
    weights = [name for name in tensors if name.endswith("weight")]
    stacks = []
    for member in range(network.members):
        layers: list[nn.Module] = []
        for number, name in enumerate(weights, start=1):
            weight, bias = tensors[name][member], tensors[name[: -len("weight")] + "bias"][member]
            layer = nn.Linear(*weight.shape)
            layer.weight = nn.Parameter(weight.T.contiguous())
            layer.bias = nn.Parameter(bias.flatten())
            relu = number % (len(weights) // 2) != 0
            layers += [layer, nn.ReLU()] if relu else [layer]
        stacks.append(nn.Sequential(*layers))
    return stacks


def _inputs(model: ReconstructionModel, values: Matrix) -> Tensor:
    return limited(model.preprocessor(torch.from_numpy(values)))


def _batch(values: Matrix, size: int) -> Matrix:
    """So many of the vectors, from the beginning again where they run out."""
    return (
        values.repeat(-(-size // len(values)), axis=0)[:size]
        if size > len(values)
        else (values[:size].copy())
    )


def _parts(model: ReconstructionModel, values: Matrix) -> str:
    """Where a plain pass spends its time."""
    x = torch.from_numpy(values[: BATCHES[1]])
    with torch.inference_mode():
        z = _inputs(model, values[: BATCHES[1]])
        squared = model.squared_errors(x)
        calls: dict[str, Call] = {
            "transform": lambda: _inputs(model, values[: BATCHES[1]]),
            "network": lambda: model.network(z),
            "surprise": lambda: model.surprise(squared).mean(dim=1),
        }
        seconds = seconds_a_call(calls, turns=3, turn_seconds=0.03)
    told = ", ".join(f"{part} {1e6 * min(s) / len(x):.2f}" for part, s in seconds.items())
    return f"us/vector of a plain pass: {told}"
