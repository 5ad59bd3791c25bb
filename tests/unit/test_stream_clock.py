"""How time passes for a stream, whatever its events claim."""

from collections.abc import Iterable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from monitor.detect.stream_clock import LARGE_STEP_MS, StreamClock

START_MS, DAY_MS, MINUTE_MS, YEAR_MS = 1_700_000_000_000, 86_400_000, 60_000, 31_536_000_000
QUIET_MS = LARGE_STEP_MS


def clocks_of(offsets_ms: Iterable[int], wall_step_ms: int = 0) -> list[StreamClock]:
    """After each of the micro-batches at these offsets from the start."""
    clocks, wall_ms = [StreamClock()], 5_000
    for offset in offsets_ms:
        clocks.append(clocks[-1].advance(START_MS + offset, wall_ms))
        wall_ms += wall_step_ms
    return clocks


def clock_after(*offsets_ms: int, wall_step_ms: int = 0) -> StreamClock:
    return clocks_of(offsets_ms, wall_step_ms)[-1]


def test_history_goes_on_as_its_events_do_however_fast_it_is_replayed() -> None:
    assert clock_after(0).elapsed_ms == 0
    assert clock_after(0, 1000, 5000).elapsed_ms == 5000
    day = clock_after(*range(0, DAY_MS, MINUTE_MS), wall_step_ms=20)
    assert day.elapsed_ms == DAY_MS - MINUTE_MS


def test_late_events_take_nothing_back_and_add_nothing() -> None:
    assert clock_after(0, 5000, 2000, 4000, 1000, 5000).elapsed_ms == 5000


def test_one_leap_ahead_is_not_believed() -> None:
    assert clock_after(0, 1000, DAY_MS, 2000).elapsed_ms == 2000


def test_leaps_with_others_between_them_confirm_nothing() -> None:
    assert clock_after(0, DAY_MS, 1000, DAY_MS, -DAY_MS, DAY_MS, 2000).elapsed_ms == 2000


def test_a_leap_that_the_next_batch_confirms_is_time_that_has_passed() -> None:
    assert clock_after(0, DAY_MS, DAY_MS + 1000).elapsed_ms == DAY_MS + 1000


def test_sparse_history_whose_every_step_is_large_goes_on() -> None:
    assert clock_after(*(n * 6 * MINUTE_MS for n in range(50))).elapsed_ms >= 48 * 6 * MINUTE_MS


def test_sparse_live_traffic_goes_on_with_each_batch() -> None:
    step = 6 * MINUTE_MS
    clocks = clocks_of((n * step for n in range(50)), wall_step_ms=step)[1:]
    assert [clock.elapsed_ms for clock in clocks] == [n * step for n in range(50)]
    assert clocks[-1].time_ms == START_MS + 49 * step


def test_times_that_stand_still_do_not_stop_it() -> None:
    assert clock_after(*[0] * 1000, wall_step_ms=500).elapsed_ms == 999 * 500


def test_times_that_stand_still_after_a_replayed_day_do_not_stop_it() -> None:
    replayed = clock_after(0, DAY_MS, DAY_MS)
    assert replayed.advance(START_MS + DAY_MS, 5_000 + MINUTE_MS).elapsed_ms == DAY_MS + MINUTE_MS


def test_what_passes_while_nothing_comes_is_not_counted_again() -> None:
    idle = clock_after(0).wait(5_000 + 3_600_000)
    assert idle.elapsed_ms == 3_600_000
    assert idle.advance(START_MS + 3_600_000, 5_000 + 3_600_000).elapsed_ms == 3_600_000
    assert StreamClock().wait(10**9) == StreamClock()


def test_one_wild_old_batch_changes_nothing() -> None:
    assert clock_after(0, 1000, -9 * DAY_MS, 2000).elapsed_ms == 2000


def test_partitions_that_lag_by_minutes_do_not_add_up() -> None:
    offsets = [n * 1000 - lag * MINUTE_MS for n in range(30) for lag in (6, 3, 0)]
    assert clock_after(*offsets, wall_step_ms=100).elapsed_ms <= 6 * MINUTE_MS + 30_000


def test_partitions_that_lag_for_hours_run_as_fast_as_the_wall() -> None:
    offsets = [n * 3000 - lag * MINUTE_MS + n % 7 for n in range(5000) for lag in (6, 3, 0)]
    passed = 15_000 * 1000
    elapsed = clock_after(*offsets, wall_step_ms=1000).elapsed_ms
    assert passed - 1000 <= elapsed <= passed + 7 * MINUTE_MS


def test_partitions_far_apart_in_time_do_not_add_up() -> None:
    ahead = 20 * LARGE_STEP_MS
    offsets = [n * 1000 + ahead * (n // 5 % 2) for n in range(100)]
    assert clock_after(0, ahead, ahead, *offsets).elapsed_ms < ahead + 200_000


def test_times_turned_back_for_years_do_not_race() -> None:
    rewound = (n * LARGE_STEP_MS - 5 * YEAR_MS for n in range(50))
    assert clock_after(0, 1000, *rewound, wall_step_ms=10).elapsed_ms < 2000


def test_an_old_capture_has_its_own_time_once_there_is_nothing_newer() -> None:
    old = [n * MINUTE_MS - 9 * DAY_MS for n in range(100)]
    clock = clock_after(0)
    for n, offset in enumerate(old):
        clock = clock.advance(START_MS + offset, 5_000 + QUIET_MS + n * 10)
    assert clock.elapsed_ms == QUIET_MS + 99 * MINUTE_MS
    assert clock.time_ms == START_MS + old[-1]


def test_an_old_capture_beside_new_traffic_does_not_turn_it_back() -> None:
    offsets = [n * 1000 - 9 * DAY_MS * (n % 2) for n in range(1000)]
    assert clock_after(*offsets, wall_step_ms=1000).elapsed_ms == 999_000


def test_turning_back_again_and_again_at_most_doubles_it() -> None:
    sawtooth = [n % 2 * LARGE_STEP_MS - n // 2 * YEAR_MS for n in range(4000)]
    clock = clock_after(*sawtooth, wall_step_ms=1000)
    assert clock.elapsed_ms <= 2 * 4000 * 1000


CLAIMS = st.integers(-5 * YEAR_MS, YEAR_MS) | st.integers(-QUIET_MS, QUIET_MS) | st.just(0)


@given(st.lists(st.tuples(CLAIMS, st.integers(0, 2 * QUIET_MS))))
def test_whatever_events_claim_it_never_falls_behind_the_wall(
    batches: list[tuple[int, int]],
) -> None:
    clocks, wall_ms = [StreamClock().advance(START_MS, 0)], 0
    for offset, passed in batches:
        wall_ms += passed
        clocks.append(clocks[-1].advance(START_MS + offset, wall_ms))
    for before, after in pairwise(clocks):
        assert after.elapsed_ms - before.elapsed_ms >= after.wall_ms - before.wall_ms >= 0
