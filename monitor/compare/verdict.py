"""What the runs say: figures side by side, and which network to take at what cost."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from monitor.compare.subject import Subject

FALSE_POSITIVE_RATE = 0.01
INDIFFERENCE = 0.01
"""Detection rates closer than this count as equal."""


@dataclass(frozen=True, slots=True)
class Quality:
    """How well errors tell attacks from normal rows.

    Attributes:
        detection_rate: share of the attacks found at 1 % false alarms.
        curve: (2, c) false and true positive rates.
    """

    auc: float
    average_precision: float
    detection_rate: float
    curve: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Run:
    """One network with one seed.

    Attributes:
        quality: None where the labels cannot tell.
        false_alarm_rate: share of the normal rows beyond the threshold; None without any.
    """

    network: str
    seed: int
    quality: Quality | None
    false_alarm_rate: float | None
    training_seconds: float
    vectors_per_second: float
    bundle_bytes: int

    def figures(self) -> dict[str, float]:
        """All that can be told, by name."""
        figures = {}
        if self.quality is not None:
            figures = {n: getattr(self.quality, n) for n in COLUMNS if hasattr(self.quality, n)}
        if self.false_alarm_rate is not None:
            figures["false_alarm_rate"] = self.false_alarm_rate
        return figures | {n: getattr(self, n) for n in COST}


class Column(NamedTuple):
    """How a table shows a figure: times `factor`, in `form`, with the deviation of the seeds."""

    title: str
    form: str
    factor: float = 1
    spread: bool = True


COLUMNS = {
    "auc": Column("AUC", "{:.3f}"),
    "average_precision": Column("AP", "{:.3f}"),
    "detection_rate": Column("found at 1 %", "{:.1f}", 100),
    "false_alarm_rate": Column("alarms, %", "{:.2f}", 100),
    "training_seconds": Column("train, s", "{:.1f}", spread=False),
    "vectors_per_second": Column("vectors/s", "{:,.0f}", spread=False),
    "bundle_bytes": Column("kB", "{:,.0f}", 1e-3, spread=False),
}
COST = ("training_seconds", "vectors_per_second", "bundle_bytes")
LEGEND = (
    "AP is the average precision; found at 1 % is the share of attacks, in percent, beyond the "
    "error that 1 % of the normal rows exceed; alarms are normal rows beyond the threshold."
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """All runs, network by network in the order asked for, and seed by seed."""

    subject: Subject
    false_alarm_rate: float
    networks: tuple[str, ...]
    seeds: int
    runs: tuple[Run, ...]

    def of(self, network: str, figure: str) -> list[float]:
        """A figure of each run of a network that can tell it."""
        told = (run.figures() for run in self.runs if run.network == network)
        return [figures[figure] for figures in told if figure in figures]

    def mean(self, network: str, figure: str) -> float:
        return fmean(self.of(network, figure))

    def figures(self) -> dict[str, Any]:
        """Everything as plain values."""
        runs = [{"network": r.network, "seed": r.seed, **r.figures()} for r in self.runs]
        return {"runs": runs, "take": self.best(), "advice": list(self.advice())}

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Titles, and a row for each network: means, with the deviation of several seeds."""
        told = {name: COLUMNS[name] for name in COLUMNS if name in self.runs[0].figures()}
        rows = [
            [network, *(_cell(self.of(network, name), column) for name, column in told.items())]
            for network in self.networks
        ]
        return ["network", *(column.title for column in told.values())], rows

    def best(self) -> str | None:
        """The network to take, by the rule that `advice` states; None where labels do not tell."""
        if not self.subject.labelled:
            return None
        top = max(self.networks, key=self._found)
        least = self._found(top) - INDIFFERENCE
        equal = [network for network in self.networks if self._found(network) >= least]
        return max(equal, key=self._speed)

    def advice(self) -> Iterator[str]:
        """Which network to take and what it costs, then what these figures rest on."""
        best, fastest = self.best(), max(self.networks, key=self._speed)
        yield from self._without_labels(fastest) if best is None else self._cost(best, fastest)

    def _cost(self, best: str, fastest: str) -> Iterator[str]:
        yield (
            f"Take {best}: it finds {self._found(best):.1%} of the attacks at 1 % false alarms, "
            f"scores {self._speed(best):,.0f} vectors a second on this machine and trains in "
            f"{self.mean(best, 'training_seconds'):.1f} s."
        )
        if fastest != best:
            times = self._speed(fastest) / self._speed(best)
            yield (
                f"The fastest, {fastest}, scores {times:.1f} times as many and finds "
                f"{self._found(fastest):.1%}."
            )
        yield (
            "The rule: most attacks found at 1 % false alarms; networks within a point of the best "
            "one count as equal, and the fastest of them is taken. This choice has seen the "
            "labels: expect somewhat less of it on other data."
        )

    def _without_labels(self, fastest: str) -> Iterator[str]:
        yield (
            "Which network finds more cannot be said: there are no labelled attacks beside normal "
            "rows. The figures say what each costs, and whether it keeps the false-alarm rate of "
            f"{self.false_alarm_rate:g}."
        )
        yield (
            f"The fastest is {fastest}, with {self._speed(fastest):,.0f} vectors a second on this "
            "machine. Unless speed decides, stay with dense, the default; a few dozen labelled "
            "attacks (--label-column, --benign) would tell more."
        )

    def _found(self, network: str) -> float:
        return self.mean(network, "detection_rate")

    def _speed(self, network: str) -> float:
        return self.mean(network, "vectors_per_second")


def _cell(values: list[float], column: Column) -> str:
    shown = column.form.format(fmean(values) * column.factor)
    if not column.spread or len(values) == 1:
        return shown
    return f"{shown}±{column.form.format(stdev(values) * column.factor)}"
