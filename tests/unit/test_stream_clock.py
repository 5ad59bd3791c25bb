"""Event time, from what events claim."""

from functools import reduce

from monitor.detect.stream_clock import LARGE_STEP_MS, StreamClock

START_MS, DAY_MS = 1_700_000_000_000, 86_400_000


def clock_after(*offsets_ms: int) -> StreamClock:
    """After micro-batches at these offsets from the start."""
    times = (START_MS + offset for offset in offsets_ms)
    return reduce(StreamClock.advance, times, StreamClock())


def test_it_goes_on_as_events_do() -> None:
    assert clock_after(0).elapsed_ms == 0
    assert clock_after(0, 1000, 5000).elapsed_ms == 5000


def test_late_events_take_nothing_back_and_add_nothing() -> None:
    assert clock_after(0, 5000, 2000, 4000, 1000, 5000).elapsed_ms == 5000


def test_one_leap_ahead_is_not_believed() -> None:
    assert clock_after(0, 1000, DAY_MS, 2000).elapsed_ms == 2000


def test_a_leap_that_the_next_batch_confirms_is_time_that_has_passed() -> None:
    assert clock_after(0, DAY_MS, DAY_MS + 1000).elapsed_ms == DAY_MS + 1000


def test_an_old_capture_after_new_traffic_has_its_own_time() -> None:
    old = clock_after(0, 1000, -9 * DAY_MS, 2000 - 9 * DAY_MS)
    assert old.elapsed_ms == 3000


def test_one_wild_old_batch_changes_nothing() -> None:
    assert clock_after(0, 1000, -9 * DAY_MS, 2000).elapsed_ms == 2000


def test_partitions_far_apart_in_time_do_not_add_up() -> None:
    ahead = 20 * LARGE_STEP_MS
    offsets = [n * 1000 + ahead * (n // 5 % 2) for n in range(100)]
    assert clock_after(0, ahead, ahead, *offsets).elapsed_ms < ahead + 200_000
