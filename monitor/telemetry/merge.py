"""One page of metrics made of those of several workers.

    merge = Merge(Metrics().registry)
    merge.ended(families)                   # of a worker that is no more: its totals are kept
    merge.of({0: families, 1: {}})          # the second has told nothing yet

Counters and histograms are summed, and so never go back while a worker starts again. What becomes
of a gauge is said in GAUGES. What only means something of one process keeps a label `worker`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

Families = Mapping[str, Metric]
"""A scrape: each family by its name."""

WEIGHT = "anomaly_monitor_traffic_vectors_per_second"
"""A mean over workers is to be one over vectors. It is 0 in a worker's first minute."""


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    """the mean, each worker weighted by its traffic"""
    if min(values) == max(values):
        return values[0]  # not that plus or minus a rounding that changes with the traffic
    if not any(weights):
        weights = [1.0] * len(values)
    return sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)


def _sum(values: Sequence[float], _: Sequence[float]) -> float:
    """the sum"""
    return sum(values)


def _least(values: Sequence[float], _: Sequence[float]) -> float:
    """the least, 0 while a worker is missing"""
    return min(values)


def _most(values: Sequence[float], _: Sequence[float]) -> float:
    """the largest"""
    return max(values)


Rule = Callable[[Sequence[float], Sequence[float]], float]
"""Makes one value of those of the workers, given their weights; its docstring says which."""

GAUGES: Mapping[str, Rule] = {
    "anomaly_monitor_incidents_open": _sum,
    "anomaly_monitor_entities_watched": _sum,
    "anomaly_monitor_spike_level_ratio": _most,
    "anomaly_monitor_threshold": _mean,
    "anomaly_monitor_false_alarm_rate_target": _mean,
    "anomaly_monitor_false_alarm_rate_realised": _mean,
    "anomaly_monitor_alerts_per_day_target": _sum,
    "anomaly_monitor_traffic_vectors_per_second": _sum,
    "anomaly_monitor_drift_ratio": _mean,
    "anomaly_monitor_anomaly_ratio": _mean,
    "anomaly_monitor_consumer_lag_records": _sum,
    "anomaly_monitor_bundle": _most,
    "anomaly_monitor_broker_connected": _least,
    "anomaly_monitor_ready": _least,
}
"""Of each gauge and info; one that is not here has a label `worker`."""

_Key = tuple[str, tuple[tuple[str, str], ...]]
_Values = dict[_Key, float]


class Merge:
    """What the workers that run tell, over what those that have ended have told.

    Args:
        catalogue: the metrics of one process, all at zero: families exist from the start.
    """

    def __init__(self, catalogue: CollectorRegistry) -> None:
        self._catalogue = by_name(catalogue.collect())
        self._totals: dict[str, _Values] = {}
        self.ended(self._catalogue)

    def ended(self, families: Families) -> None:
        """Keep the totals of a worker that is no more."""
        for name, family in totals(families).items():
            _add(self._totals.setdefault(name, {}), family)

    def of(self, workers: Mapping[int, Families]) -> Iterator[Metric]:
        """The families of all workers, by number; a worker may tell some of them, or none."""
        known = self._catalogue | {n: f for told in workers.values() for n, f in told.items()}
        weights = {number: _weight(told) for number, told in workers.items()}
        for name, family in known.items():
            here = {number: told[name] for number, told in workers.items() if name in told}
            if _is_total(family):
                values = dict(self._totals.get(name, {}))
                for of_worker in here.values():
                    _add(values, of_worker)
                yield _with(family, _samples(values))
            elif GAUGES.get(name) is _least and len(here) < len(workers):
                yield self._catalogue[name]  # at zero, as those that are missing
            elif name in GAUGES:
                yield _with(family, _samples(_judged(GAUGES[name], here, weights)))
            else:
                yield _with(family, _labelled(here))


def by_name(families: Iterable[Metric]) -> dict[str, Metric]:
    """Families by their names, in their order."""
    return {family.name: family for family in families}


def totals(families: Families) -> Families:
    """Those that are summed: what still holds of a worker that does not answer."""
    return {name: family for name, family in families.items() if _is_total(family)}


def _is_total(family: Metric) -> bool:
    return family.type in ("counter", "histogram") and not family.name.startswith("process_")


def _weight(families: Families) -> float:
    return families[WEIGHT].samples[0].value if WEIGHT in families else 0.0


def _key(sample: Sample) -> _Key:
    return sample.name, tuple(sorted(sample.labels.items()))


def _add(values: _Values, family: Metric) -> None:
    for sample in family.samples:
        values[_key(sample)] = values.get(_key(sample), 0.0) + sample.value


def _judged(rule: Rule, here: Mapping[int, Metric], weights: Mapping[int, float]) -> _Values:
    found: dict[_Key, list[tuple[float, float]]] = {}
    for number, family in here.items():
        for sample in family.samples:
            found.setdefault(_key(sample), []).append((sample.value, weights[number]))
    return {key: rule(*zip(*pairs, strict=True)) for key, pairs in found.items()}


def _samples(values: _Values) -> Iterator[Sample]:
    return (Sample(name, dict(labels), value) for (name, labels), value in values.items())


def _labelled(workers: Mapping[int, Metric]) -> Iterator[Sample]:
    for number, family in workers.items():
        for sample in family.samples:
            yield sample._replace(labels={**sample.labels, "worker": str(number)})


def _with(family: Metric, samples: Iterable[Sample]) -> Metric:
    made = Metric(family.name, family.documentation, family.type, family.unit)
    made.samples = list(samples)
    return made
