"""What a GPU adds: how close scoring comes to what the link to it allows, and the device's part.

There are no rows without one.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from monitor.batch import Matrix
from monitor.bench.bench import Bench
from monitor.bench.figures import Figure, Goal
from monitor.bench.timing import seconds_a_call
from monitor.bundle import load
from monitor.detect.detector import Detector

VECTORS = 1 << 20
BATCHES = (1, 64, 1_024, 4_096)
OF_LINK = Goal(">=", 0.5)
DEVICE_US = Goal("<=", 100)
REPETITIONS = 50


def run(bench: Bench) -> Iterator[Figure]:
    if not torch.cuda.is_available():
        return
    name = torch.cuda.get_device_name()
    for workload in bench.volume:
        detector, _ = load(workload.bundle, "cuda")
        values = workload.values
        pinned = torch.from_numpy(values[np.arange(VECTORS) % len(values)]).pin_memory()
        there = torch.empty_like(pinned, device="cuda")
        bench.say(f"{workload.name}: scoring {VECTORS:,} vectors on {name}")
        calls: dict[str, Callable[[], object]] = {
            "copy": partial(there.copy_, pinned),
            "score": partial(detector.score, pinned.numpy()),
        }
        seconds = seconds_a_call(calls)
        rates = [VECTORS / taken for taken in seconds["score"]]
        limits = [VECTORS / taken for taken in seconds["copy"]]
        shares = [ours / limit for ours, limit in zip(rates, limits, strict=True)]
        title = f"{workload.name}, {name}"
        yield Figure(f"{title}: scoring from pinned memory", "vectors/s", rates)
        note = f"the copy alone: {max(limits):,.0f} vectors/s"
        yield Figure(f"{title}: scoring over the copy to the device", "", shares, OF_LINK, note)
        for batch in BATCHES:
            took = _device_us(detector, values[:batch])
            yield Figure(f"{title}: device part of {batch:,}", "us", took, DEVICE_US)


def _device_us(detector: Detector, values: Matrix) -> float:
    """Microseconds that a call's kernels and copies take on the device."""
    detector.score(values)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
        for _ in range(REPETITIONS):
            detector.score(values)
    # What launches them on the processor is told the same time once more.
    on_device = (e for e in profiled.events() if e.device_type.name == "CUDA")
    total_us = sum(event.self_device_time_total for event in on_device)
    return float(total_us) / REPETITIONS
