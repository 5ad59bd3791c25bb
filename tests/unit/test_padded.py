"""Batches are filled up to a few sizes, and parted where a device's memory is full."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from monitor.batch import Matrix
from monitor.detect.cpu_scorer import CpuScorer
from monitor.detect.cuda_scorer import CudaScorer, launched
from monitor.detect.model import ReconstructionModel
from monitor.detect.padded import SIZES, PaddedRun, parts
from monitor.detect.scorer import SMALLEST_PART, Fallbacks, Run, in_parts_that_fit
from tests.support.detectors import HASTY, fit_small, normal_vectors

COUNTS = (0, 1, 63, 64, 65, 511, 512, 4_097, 9_000)
ROUNDING = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def model() -> ReconstructionModel:
    return fit_small(HASTY, 400).detector.model


@pytest.mark.parametrize("count", [*COUNTS, 32_768, 70_000])
def test_parts_cover_a_batch_in_order_each_in_the_smallest_size_that_holds_it(count: int) -> None:
    found = list(parts(count, SIZES))
    covered = [row for part, _ in found for row in range(part.start, part.stop)]
    assert covered == list(range(count))
    for part, size in found:
        smaller = [other for other in SIZES if other < size]
        assert size >= part.stop - part.start > max(smaller, default=0)


@pytest.mark.parametrize("sizes", [(64, 512, 4_096), (64,), (1, 7, 100)])
def test_padding_never_changes_an_error(model: ReconstructionModel, sizes: tuple[int, ...]) -> None:
    run, vectors = PaddedRun(model, launched, sizes), normal_vectors(9_000, seed=2)
    expected = CpuScorer(model).errors(vectors)
    for count in COUNTS:
        found = run(vectors[:count])
        assert found.shape == (count,)
        np.testing.assert_allclose(found, expected[:count], **ROUNDING)


def test_vectors_that_may_not_be_written_to_are_scored_too(model: ReconstructionModel) -> None:
    vectors = normal_vectors(100)
    sealed = np.frombuffer(vectors.tobytes(), np.float32).reshape(vectors.shape)
    run = PaddedRun(model, launched, (64,))
    np.testing.assert_array_equal(run(sealed), run(vectors))


def with_room_for(run: Run, rows: int) -> Run:
    """A device whose memory is full beyond so many vectors."""

    def limited(values: Matrix) -> NDArray[np.float32]:
        if len(values) > rows:
            raise torch.cuda.OutOfMemoryError(f"tried to allocate {len(values)} rows")
        return run(values)

    return limited


@pytest.mark.parametrize("rows", [100_000, 1_000, 64, 63, 0])
@pytest.mark.parametrize("count", [0, 1, 64, 65, 3_001])
def test_no_error_is_lost_however_little_room_there_is(
    model: ReconstructionModel, rows: int, count: int
) -> None:
    spare, vectors, fallbacks = CpuScorer(model).errors, normal_vectors(count), Fallbacks()
    run = with_room_for(PaddedRun(model, launched), rows)
    found = in_parts_that_fit(run, spare, vectors, fallbacks)
    np.testing.assert_allclose(found, spare(vectors), **ROUNDING)
    assert (fallbacks.halved > 0) == (count > max(rows, SMALLEST_PART))
    if rows in (0, 64):
        assert fallbacks.scored_on_cpu == (0 if rows else count)


def test_what_fits_is_scored_on_the_device_after_the_memory_was_full(
    model: ReconstructionModel,
) -> None:
    fallbacks = Fallbacks()
    in_parts_that_fit(
        with_room_for(PaddedRun(model, launched), 1_000),
        with_room_for(CpuScorer(model).errors, 0),
        normal_vectors(3_000),
        fallbacks,
    )
    assert fallbacks.take() == (3, 0)
    assert fallbacks.take() == (0, 0)


def test_another_failure_is_not_taken_for_a_full_memory(model: ReconstructionModel) -> None:
    def broken(values: Matrix) -> NDArray[np.float32]:
        raise RuntimeError("an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal memory access"):
        in_parts_that_fit(broken, CpuScorer(model).errors, normal_vectors(9), Fallbacks())


@pytest.fixture(scope="module")
def on_gpu(model: ReconstructionModel) -> CudaScorer:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return CudaScorer(deepcopy(model).cuda())


@pytest.mark.gpu
def test_a_gpu_replays_graphs_to_the_errors_of_a_processor(
    model: ReconstructionModel, on_gpu: CudaScorer
) -> None:
    assert on_gpu.fallbacks == Fallbacks()
    vectors = normal_vectors(70_000, seed=2)
    expected = CpuScorer(model).errors(vectors)
    for count in (*COUNTS, 70_000):
        np.testing.assert_allclose(on_gpu.errors(vectors[:count]), expected[:count], **ROUNDING)


@pytest.mark.gpu
def test_a_gpu_reads_pinned_memory_by_itself_to_the_same_errors(on_gpu: CudaScorer) -> None:
    vectors = normal_vectors(70_000, seed=2)
    pinned = torch.from_numpy(vectors).pin_memory().numpy()
    np.testing.assert_array_equal(on_gpu.errors(pinned), on_gpu.errors(vectors))
