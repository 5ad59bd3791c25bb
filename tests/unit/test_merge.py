"""The metrics of several workers as those of one host."""

from collections.abc import Iterable

from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from monitor.telemetry.merge import GAUGES, Families, Merge, by_name
from monitor.telemetry.metrics import Metrics


def worker(scored: int = 0, traffic: float = 0.0, error: float = 0.5) -> Metrics:
    """A worker that is ready and has scored so many vectors of this error."""
    metrics = Metrics()
    metrics.vectors.labels("scored").inc(scored)
    metrics.reconstruction_error.observe([error] * scored)
    metrics.traffic.set(traffic)
    metrics.ready.set(1)
    metrics.bundle.info({"bundle": "b1", "network": "dense", "device": "cpu"})
    return metrics


def scraped(metrics: Metrics) -> Families:
    """What the supervisor reads of it."""
    return by_name(text_string_to_metric_families(openmetrics(metrics.registry).decode()))


def value(families: Iterable[Metric], name: str, **labels: str) -> float:
    [found] = [
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    return float(found)


def merged(*workers: Metrics) -> list[Metric]:
    merge = Merge(Metrics().registry)
    return list(merge.of({number: scraped(metrics) for number, metrics in enumerate(workers)}))


def test_counters_and_histograms_are_summed() -> None:
    families = merged(worker(30, error=0.5), worker(12, error=0.05))
    assert value(families, "anomaly_monitor_vectors_total", outcome="scored") == 42
    name = "anomaly_monitor_reconstruction_error"
    assert value(families, f"{name}_bucket", le="0.1") == 12
    assert value(families, f"{name}_bucket", le="+Inf") == 42
    assert value(families, f"{name}_count") == 42


def test_every_gauge_has_a_rule_by_which_it_is_merged() -> None:
    families = [f for f in Metrics().registry.collect() if f.name.startswith("anomaly_monitor_")]
    assert GAUGES.keys() == {f.name for f in families if f.type in ("gauge", "info")}
    assert {f.type for f in families} == {"gauge", "info", "counter", "histogram"}


def test_a_mean_counts_each_worker_for_its_traffic() -> None:
    busy, idle = worker(traffic=900), worker(traffic=100)
    for metrics, rate in ((busy, 0.01), (idle, 0.0)):
        metrics.false_alarm_rate_realised.set(rate)
    name = "anomaly_monitor_false_alarm_rate_realised"
    assert value(merged(busy, idle), name) == 0.009
    idle.false_alarm_rate_target.set(0.1)
    busy.false_alarm_rate_target.set(0.1)
    assert value(merged(busy, idle), "anomaly_monitor_false_alarm_rate_target") == 0.1
    busy.traffic.set(0)
    idle.traffic.set(0)
    assert value(merged(busy, idle), name) == 0.005


def test_each_partitions_lag_is_its_readers() -> None:
    first, second = worker(), worker()
    first.consumer_lag_records.labels("vectors", "0").set(3)
    second.consumer_lag_records.labels("vectors", "1").set(4)
    families = merged(first, second)
    assert value(families, "anomaly_monitor_consumer_lag_records", partition="0") == 3
    assert value(families, "anomaly_monitor_consumer_lag_records", partition="1") == 4


def test_one_bundle_is_told_of_once() -> None:
    assert value(merged(worker(), worker()), "anomaly_monitor_bundle_info", bundle="b1") == 1


def test_what_is_of_a_process_says_of_which() -> None:
    families = merged(worker(), worker())
    for number in "01":
        assert value(families, "process_resident_memory_bytes", worker=number) > 0


def test_all_are_ready_or_the_host_is_not() -> None:
    ready, other = worker(), worker()
    assert value(merged(ready, other), "anomaly_monitor_ready") == 1
    other.ready.set(0)
    assert value(merged(ready, other), "anomaly_monitor_ready") == 0
    missing = Merge(Metrics().registry).of({0: scraped(ready), 1: {}})
    assert value(missing, "anomaly_monitor_ready") == 0


def test_what_a_worker_has_counted_stays_when_it_ends_and_begins_anew() -> None:
    merge = Merge(Metrics().registry)
    old, other = worker(30), worker(12)
    name = "anomaly_monitor_vectors_total"
    for count in (1, 2):
        old.consumer_lag_records.labels("vectors", "0").set(7)
        merge.ended(scraped(old))
        without = list(merge.of({0: {}, 1: scraped(other)}))
        assert value(without, name, outcome="scored") == 12 + 30 * count
        assert value(without, "anomaly_monitor_reconstruction_error_count") == 12 + 30 * count
        lag = next(f for f in without if f.name == "anomaly_monitor_consumer_lag_records")
        assert lag.samples == []
        again = list(merge.of({0: scraped(worker(1)), 1: scraped(other)}))
        assert value(again, name, outcome="scored") == 13 + 30 * count


def test_before_any_worker_tells_anything_all_counters_are_there_at_zero() -> None:
    families = list(Merge(Metrics().registry).of({0: {}, 1: {}}))
    assert value(families, "anomaly_monitor_alerts_total", severity="Low", activity="Close") == 0
    assert value(families, "anomaly_monitor_ready") == 0


def test_the_page_is_the_one_that_a_lone_daemon_has() -> None:
    """Apart from labels of processes: names, types, order, buckets."""

    class Page:
        def __init__(self, families: Iterable[Metric]) -> None:
            self.families = families

        def collect(self) -> Iterable[Metric]:
            return self.families

    def told(text: bytes) -> list[str]:
        lines = text.decode().splitlines()
        return [line.rpartition(" ")[0] for line in lines if "process_" not in line]

    lone = worker(5)
    one = Merge(Metrics().registry).of({0: scraped(lone)})
    assert told(generate_latest(Page(one))) == told(generate_latest(lone.registry))  # type: ignore[arg-type]
