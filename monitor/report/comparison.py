"""The report of `monitor compare`: which network to take, and what each costs."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from monitor.compare.verdict import LEGEND, Comparison
from monitor.report.page import (
    ATTACK,
    MUTED,
    NORMAL,
    THIRD,
    facts,
    note,
    section,
    svg,
    table,
    write_page,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = (NORMAL, ATTACK, THIRD, "#8a63c9", "#b58a1b", "#c2559b", "#4aa5b5")
SMALLEST_RATE = 1e-4


def write_comparison_report(comparison: Comparison, file: Path) -> None:
    """Write advice, figures, and plots of quality against cost.

    Raises:
        DataError: the file cannot be written.
    """
    title = f"Networks compared on {comparison.subject.source}"
    write_page(file, title, _content(comparison))


def _content(comparison: Comparison) -> Iterator[str]:
    first, *rest = comparison.advice()
    yield note(first)
    yield section("What this rests on", " ".join(rest), facts(_facts(comparison)))
    yield section(
        "Figures",
        f"Means over the seeds, with the standard deviation where there are several. {LEGEND} "
        "Speed and training time are this machine's.",
        table(*comparison.table()),
    )
    if comparison.subject.labelled:
        yield section(
            "What is found, and at what price",
            "Up is more attacks found at 1 % false alarms, right is more vectors a second: a dot "
            "for each seed. Below, the attacks found at each rate of false alarms, first seed.",
            svg(lambda axes: _draw_price(axes, comparison), size=(7.5, 3.2)),
            svg(lambda axes: _draw_curves(axes, comparison), size=(7.5, 3.6)),
        )
    yield section(
        "What each costs",
        "Bars are means, dots the seeds.",
        svg(
            lambda axes: _draw_bars(axes, comparison, "training_seconds", "training, seconds"),
            lambda axes: _draw_bars(axes, comparison, "vectors_per_second", "vectors a second"),
            size=(7.5, 0.8 + 0.3 * len(comparison.networks)),
        ),
    )
    if comparison.of(comparison.networks[0], "false_alarm_rate"):
        yield section(
            "Is the false-alarm rate kept?",
            "Share of normal rows, never trained on, beyond the threshold; the line is what was "
            "promised. Rows of another day may differ from those trained on, and more of them "
            "then alert.",
            svg(
                lambda axes: _draw_alarms(axes, comparison),
                size=(7.5, 0.8 + 0.3 * len(comparison.networks)),
            ),
        )


def _facts(comparison: Comparison) -> dict[str, str]:
    subject = comparison.subject
    training, judged, attack = subject.split(seed=0)
    where = f"of {subject.test}" if subject.test else "of the same, not trained on"
    normal = len(judged) - int(attack.sum())
    return {
        "Spec": f"{subject.spec.name}, {len(subject.spec)} features",
        "Trained on": f"{subject.source}: {len(training):,} normal vectors, "
        f"{subject.data.rejected:,} rows rejected",
        "Taken as normal": subject.data.assumption,
        "Judged by": f"{normal:,} normal vectors and {int(attack.sum()):,} attacks {where}",
        "Seeds": f"0 to {comparison.seeds - 1}" if comparison.seeds > 1 else "0",
        "False-alarm rate": f"{comparison.false_alarm_rate:g}",
    }


def _draw_price(axes: "Axes", comparison: Comparison) -> None:
    for network, color in _colored(comparison):
        speed = comparison.of(network, "vectors_per_second")
        found = comparison.of(network, "detection_rate")
        axes.plot(speed, found, "o", color=color, alpha=0.7)
        place = (float(np.mean(speed)), float(np.mean(found)))
        axes.annotate(
            network, place, (6, 4), textcoords="offset points", color=color, fontweight="bold"
        )
    axes.set(xscale="log", xlabel="vectors a second", ylabel="attacks found")
    axes.margins(x=0.15, y=0.15)


def _draw_curves(axes: "Axes", comparison: Comparison) -> None:
    for network, color in _colored(comparison):
        run = next(run for run in comparison.runs if run.network == network)
        if run.quality is not None:
            rates, found = run.quality.curve
            axes.plot(rates.clip(SMALLEST_RATE), found, color=color, label=network)
    axes.axvline(0.01, color=MUTED, lw=0.8, ls=":")
    axes.set(xscale="log", xlim=(SMALLEST_RATE, 1), xlabel="false alarms", ylabel="attacks found")
    axes.legend(loc="upper left", ncols=2)


def _draw_bars(axes: "Axes", comparison: Comparison, figure: str, title: str) -> None:
    for row, (network, color) in enumerate(_colored(comparison)):
        values = comparison.of(network, figure)
        axes.barh(row, float(np.mean(values)), color=color, alpha=0.55)
        axes.plot(values, [row] * len(values), ".", color=color)
    axes.set_yticks(range(len(comparison.networks)), comparison.networks)
    axes.set(xlabel=title)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")


def _draw_alarms(axes: "Axes", comparison: Comparison) -> None:
    _draw_bars(axes, comparison, "false_alarm_rate", "share of normal rows that alert")
    axes.axvline(comparison.false_alarm_rate, color=ATTACK, lw=1)


def _colored(comparison: Comparison) -> Iterator[tuple[str, str]]:
    for position, network in enumerate(comparison.networks):
        yield network, COLORS[position % len(COLORS)]
