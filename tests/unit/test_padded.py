"""Batches are filled up to a few sizes, and parted where a device's memory is full."""

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from itertools import count as counting

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from monitor.batch import Matrix
from monitor.detect.cpu_scorer import CpuScorer
from monitor.detect.cuda_scorer import CudaScorer, launched, verified
from monitor.detect.model import ReconstructionModel
from monitor.detect.padded import SIZES, TURNS, PaddedRun, Prepare, parts
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


def whole(model: ReconstructionModel, vectors: Tensor) -> Callable[[int], Tensor]:
    """As a graph computes it: every row of the buffer, however few are asked for."""

    def replay(count: int) -> Tensor:
        errors: Tensor = model(vectors)
        return errors[:count]

    return replay


@pytest.mark.parametrize("prepare", [whole, launched])
@pytest.mark.parametrize("sizes", [(64, 512, 4_096), (64,), (1, 7, 100)])
def test_padding_never_changes_an_error(
    model: ReconstructionModel, sizes: tuple[int, ...], prepare: Prepare
) -> None:
    run, vectors = PaddedRun(model, prepare, sizes), normal_vectors(9_000, seed=2)
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


FULL = torch.cuda.OutOfMemoryError("Tried to allocate 20.00 MiB")
FULL_SAYS_CUBLAS = RuntimeError(
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
)
FULL_SAYS_CUDA = RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be ...")


def with_room_for(run: Run, rows: int, error: RuntimeError = FULL) -> Run:
    """A device whose memory is full beyond so many vectors."""

    def limited(values: Matrix) -> NDArray[np.float32]:
        if len(values) > rows:
            raise error
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


@pytest.mark.parametrize("error", [FULL_SAYS_CUBLAS, FULL_SAYS_CUDA])
def test_a_full_memory_is_known_by_the_words_of_cuda_and_its_libraries(
    model: ReconstructionModel, error: RuntimeError
) -> None:
    spare, vectors, fallbacks = CpuScorer(model).errors, normal_vectors(100), Fallbacks()
    in_parts_that_fit(with_room_for(spare, 50, error), spare, vectors, fallbacks)
    assert fallbacks.take() == (1, 0)


def test_fewer_vectors_take_less_of_the_device_where_nothing_is_captured(
    model: ReconstructionModel,
) -> None:
    rows: list[int] = []

    def watched(model: ReconstructionModel, vectors: Tensor) -> Callable[[int], Tensor]:
        launch = launched(model, vectors)
        model.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
        return launch

    PaddedRun(deepcopy(model), watched, (32_768,))(normal_vectors(9_000))
    assert set(rows) == {9_000}


def test_another_failure_is_not_taken_for_a_full_memory(model: ReconstructionModel) -> None:
    def broken(values: Matrix) -> NDArray[np.float32]:
        raise RuntimeError("an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal memory access"):
        in_parts_that_fit(broken, CpuScorer(model).errors, normal_vectors(9), Fallbacks())


def full_at_start(model: ReconstructionModel) -> PaddedRun:
    raise FULL


def test_where_graphs_find_no_room_at_the_start_passes_run_without(
    model: ReconstructionModel,
) -> None:
    vectors = normal_vectors(100)
    ways = {"as graphs": full_at_start, "one by one": partial(PaddedRun, prepare=launched)}
    scorer = CudaScorer(model, ways=ways)
    assert scorer.fallbacks.reason.startswith("not as graphs: the GPU's memory is full (Tried to")
    np.testing.assert_allclose(scorer.errors(vectors), CpuScorer(model).errors(vectors), **ROUNDING)
    assert scorer.fallbacks.take() == (0, 0)


def test_where_nothing_finds_room_at_the_start_the_processor_scores_and_counts(
    model: ReconstructionModel,
) -> None:
    scorer = CudaScorer(model, ways={"as graphs": full_at_start, "one by one": full_at_start})
    vectors = normal_vectors(100)
    expected = CpuScorer(model).errors(vectors)
    np.testing.assert_array_equal(scorer.errors(vectors), expected)
    assert scorer.fallbacks.reason.endswith("; the processor scores")
    assert scorer.fallbacks.take() == (0, 100)


@pytest.mark.parametrize("wrong", range(TURNS * len(SIZES)))
def test_a_pass_that_is_wrong_in_a_single_buffer_is_not_used(
    model: ReconstructionModel, wrong: int
) -> None:
    numbers = counting()

    def prepare(model: ReconstructionModel, vectors: Tensor) -> Callable[[int], Tensor]:
        launch, off = launched(model, vectors), 1.0 if next(numbers) == wrong else 0.0
        return lambda count: launch(count) + off

    with pytest.raises(RuntimeError, match="errors differ from the model's by"):
        verified(model, prepare)


def test_passes_that_are_right_in_all_buffers_are_used(model: ReconstructionModel) -> None:
    vectors = normal_vectors(100)
    found = verified(model, whole)(vectors)
    np.testing.assert_allclose(found, CpuScorer(model).errors(vectors), **ROUNDING)


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
