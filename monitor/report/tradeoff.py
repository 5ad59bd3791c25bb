"""The trade-off of a false-alarm budget as a plot in a file of its own."""

from pathlib import Path
from typing import TYPE_CHECKING

from monitor.detect.tradeoff import TailCurve
from monitor.report.page import ATTACK, MUTED, NORMAL, THIRD, write_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def write_tradeoff_plot(file: Path, curve: TailCurve, threshold: float) -> None:
    """Share of vectors above an error, with the threshold.

    Raises:
        DataError: the file cannot be written.
    """

    def draw(axes: "Axes") -> None:
        sure = curve.measured
        if curve.traffic is not None:
            axes.plot(curve.errors, curve.traffic, color=THIRD, label="recent traffic")
        axes.plot(curve.errors[sure], curve.rates[sure], color=NORMAL, label="normal, measured")
        axes.plot(
            curve.errors[~sure], curve.rates[~sure], ":", color=MUTED, label="normal, extrapolated"
        )
        axes.axvline(threshold, color=ATTACK, lw=1, label="threshold")
        axes.set(
            xlabel="reconstruction error",
            ylabel="share of vectors above it",
            yscale="log",
            ylim=(curve.rates[-1], 1),
        )
        axes.legend()

    write_svg(file, draw, size=(7.5, 3.6))
