"""Rises of the level: seldom found in usual traffic, soon where there are some."""

import tracemalloc
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import orjson
import pytest

from monitor.batch import Origins
from monitor.detect.spikes import Rise, SpikeOptions, Spikes
from monitor.detect.stream_clock import StreamClock
from monitor.features import FeatureSpec
from monitor.ingest.json_codec import JsonCodec

START_MS, DAY_S, WINDOW_S = 1_790_000_000_000, 86_400, 10.0
HOSTS = FeatureSpec.parse(
    {
        "name": "hosts",
        "identity": {"source_address": "host"},
        "features": [{"name": "bytes", "kind": "numeric"}],
    },
    "hosts",
)
Window = tuple[np.ndarray, np.ndarray]  # errors, whether anomalous
Traffic = Callable[[np.random.Generator, float], Window]


def clock_at(second: float) -> StreamClock:
    elapsed = round(second * 1000)
    return StreamClock(elapsed, START_MS + elapsed)


def made_of(anomalous: int, errors: np.ndarray) -> Window:
    return errors.astype(np.float32), np.arange(len(errors)) < anomalous


def steady(random: np.random.Generator, factor: float) -> Window:
    """Poisson counts: 200 vectors a window, 2 % of them anomalous."""
    count = max(random.poisson(200), 1)
    return made_of(random.binomial(count, 0.02 * factor), random.exponential(0.3, count))


def bursty(random: np.random.Generator, factor: float) -> Window:
    """Rates that differ from window to window: counts have four times a Poisson's variance."""
    count = max(random.poisson(400), 1)
    rate = 0.03 * factor * random.gamma(4, 1 / 4)
    errors = random.exponential(0.3, count) + random.exponential(0.05)
    return made_of(random.binomial(count, min(rate, 1)), errors)


def clustered(random: np.random.Generator, factor: float) -> Window:
    """Seldom anything, and then several at once."""
    count = max(random.poisson(300), 1)
    together = random.geometric(0.2, random.poisson(0.3 * factor)).sum()
    return made_of(min(int(together), count), random.exponential(0.3, count))


def play(spikes: Spikes, windows: Iterable[Window], start: int = 0) -> Iterator[tuple[int, Rise]]:
    """The rises of the stream, with the number of the window that has just ended."""
    for n, (errors, anomalous) in enumerate(windows, start):
        for rise in spikes.step(errors, anomalous, None, clock_at(n * WINDOW_S)):
            yield n - 1, rise


@pytest.mark.parametrize("traffic", [steady, bursty, clustered])
def test_false_alarms_are_no_more_frequent_than_stated(traffic: Traffic) -> None:
    interval = 400  # windows
    options = SpikeOptions(false_alarm_interval_days=interval * WINDOW_S / DAY_S)
    random, spikes = np.random.default_rng(1), Spikes(options)
    windows = (traffic(random, 1) for _ in range(10 * interval))
    begun = [n for n, rise in play(spikes, windows) if rise.windows == 1]
    assert len(begun) <= 10


@pytest.mark.parametrize("traffic", [steady, bursty])
@pytest.mark.parametrize("seed", range(5))
def test_a_fivefold_ratio_is_found_within_a_minute(traffic: Traffic, seed: int) -> None:
    random, spikes = np.random.default_rng(seed), Spikes(SpikeOptions())
    assert list(play(spikes, (traffic(random, 1) for _ in range(200)))) == []
    risen = play(spikes, (traffic(random, 5) for _ in range(10)), start=200)
    first, rise = next(risen)
    assert first - 200 < 6
    assert rise.spike.measure == "anomaly ratio"
    assert rise.spike.observed > 3 * rise.spike.usual
    assert abs(rise.spike.since_ms - START_MS - 200 * WINDOW_S * 1000) <= WINDOW_S * 1000


def test_a_mean_error_that_rises_below_the_threshold_is_found() -> None:
    random, spikes = np.random.default_rng(0), Spikes(SpikeOptions())

    def quiet(level: float, count: int) -> Iterator[Window]:
        return (made_of(0, random.exponential(level, 500)) for _ in range(count))

    assert list(play(spikes, quiet(0.3, 200))) == []
    first, rise = next(play(spikes, quiet(0.45, 20), start=200))
    assert rise.spike.measure == "mean error"
    assert first - 200 < 6


def test_one_burst_is_no_new_level() -> None:
    random, spikes = np.random.default_rng(0), Spikes(SpikeOptions())
    windows = [steady(random, 1) for _ in range(200)]
    windows[150] = steady(random, 50)
    assert list(play(spikes, windows)) == []


def test_a_rise_of_the_ratio_is_found_after_a_burst() -> None:
    random, spikes = np.random.default_rng(0), Spikes(SpikeOptions())

    def windows(ratio: float, count: int) -> Iterator[Window]:
        for _ in range(count):
            yield made_of(random.binomial(1000, ratio), random.exponential(0.3, 1000))

    burst = [made_of(1000, random.exponential(0.3, 1000))]
    usual = [*windows(0.001, 100), *burst, *windows(0.001, 100)]
    assert list(play(spikes, usual)) == []
    first, rise = next(play(spikes, windows(0.06, 10), start=201))
    assert first - 201 < 6
    assert rise.spike.measure == "anomaly ratio"


def test_a_rise_of_the_mean_error_is_found_after_a_burst() -> None:
    random, spikes = np.random.default_rng(0), Spikes(SpikeOptions())

    def windows(level: float, count: int) -> list[Window]:
        return [made_of(0, random.exponential(level, 500)) for _ in range(count)]

    usual = [*windows(0.3, 100), *windows(300, 1), *windows(0.3, 100)]
    assert list(play(spikes, usual)) == []
    first, rise = next(play(spikes, windows(0.45, 20), start=201))
    assert first - 201 < 6
    assert rise.spike.measure == "mean error"


def test_a_rise_ends_soon_after_the_level_is_as_before() -> None:
    random, spikes = np.random.default_rng(0), Spikes(SpikeOptions())
    factors = [1] * 100 + [5] * 40 + [1] * 100
    rises = list(play(spikes, (steady(random, factor) for factor in factors)))
    assert [rise.windows for _, rise in rises] == list(range(1, len(rises) + 1))
    assert 135 <= rises[-1][0] <= 146


def test_a_level_that_stays_is_the_new_normal() -> None:
    options = SpikeOptions(baseline_windows=60)
    random, spikes = np.random.default_rng(0), Spikes(options)
    factors = [1] * 100 + [5] * 400
    rises = list(play(spikes, (steady(random, factor) for factor in factors)))
    assert 155 <= rises[-1][0] < 175


def sparse(random: np.random.Generator, count: int) -> Iterator[Window]:
    """Few vectors, of which one is anomalous now and then."""
    return (made_of(random.binomial(1, 0.05), np.full(5, 0.3)) for _ in range(count))


def test_what_rises_too_slowly_to_be_a_jump_is_forgotten() -> None:
    random, options = np.random.default_rng(0), SpikeOptions(baseline_windows=60)
    spikes = Spikes(options)
    assert list(play(spikes, sparse(random, 2000))) == []


def test_after_a_long_silence_an_alarm_is_over_and_the_baseline_still_known() -> None:
    random, spikes = np.random.default_rng(0), Spikes(SpikeOptions())
    risen = [steady(random, factor) for factor in [1] * 100 + [5] * 10]
    assert len(list(play(spikes, risen))) > 0
    morning = 110 + 6 * 360
    usual = list(play(spikes, (steady(random, 1) for _ in range(50)), start=morning))
    assert len(usual) <= 1, "the last window of the evening may still be told"
    found = list(play(spikes, (steady(random, 5) for _ in range(10)), start=morning + 50))
    assert found
    assert found[0][1].spike.since_ms >= START_MS + (morning + 49) * WINDOW_S * 1000


def of_hosts(names: list[str], codes: np.ndarray) -> Origins:
    return Origins(codes.astype(np.int32), names, [None] * len(codes))


def test_the_entity_whose_level_rises_is_named() -> None:
    random, spikes = np.random.default_rng(0), Spikes(SpikeOptions())
    names, found = [f"10.0.0.{n}" for n in range(20)], []
    for n in range(130):
        codes = random.integers(0, 20, 2000)
        ratio = np.where((codes == 7) & (n >= 100), 0.2, 0.02)
        anomalous = random.random(2000) < ratio
        order = random.permutation(20)  # each micro-batch numbers them anew
        origins = of_hosts([names[i] for i in order], np.argsort(order)[codes])
        errors = np.full(2000, 0.3, np.float32)
        rises = spikes.step(errors, anomalous, origins, clock_at(n * WINDOW_S))
        found += [(n, origins.names[rise.entity]) for rise in rises if rise.entity >= 0]
    assert {name for _, name in found} == {"10.0.0.7"}
    assert 100 < found[0][0] < 107


def test_invented_entities_take_no_memory_beyond_the_bound() -> None:
    errors, anomalous = np.ones(500, np.float32), np.zeros(500, bool)
    codec = JsonCodec(HOSTS, [()], read_origins=True)

    def invent(spikes: Spikes, batches: range) -> None:
        for batch in batches:
            names = [f"{batch}.{n}".ljust(4096, "é") for n in range(500)]
            values = [orjson.dumps({"bytes": 1, "host": name}) for name in names]
            origins = codec.decode(values).batch.origins
            spikes.step(errors, anomalous, origins, clock_at(batch / 10))

    invent(Spikes(SpikeOptions(max_entities=600)), range(2))
    tracemalloc.start()
    spikes = Spikes(SpikeOptions(max_entities=600))
    invent(spikes, range(20))
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(spikes) == 600
    assert taken < 600 * 1500


def test_more_entities_in_a_batch_than_are_held_do_no_harm() -> None:
    spikes = Spikes(SpikeOptions(max_entities=10))
    for n in range(50):
        names = [str(k) for k in range(n, n + 100)]
        origins = of_hosts(names, np.arange(100))
        assert (
            spikes.step(np.ones(100, np.float32), np.zeros(100, bool), origins, clock_at(n)) == []
        )
    assert len(spikes) == 10
