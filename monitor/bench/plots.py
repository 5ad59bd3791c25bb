"""The run as a picture: what each way does in a second, and how cost grows."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from monitor.bench.figures import Figure

RATE, COST = "vectors/s", "us/vector"
OURS, OTHERS = "#2a6f97", "#a9b4bc"
_OTHERS = ("poll and parse only", "handwritten")


def draw(figures: Mapping[str, Sequence[Figure]], file: Path) -> bool:
    """Write an SVG; False, and nothing is written, where there is nothing to show."""
    every = [figure for found in figures.values() for figure in found if figure.all]
    rates = [figure for figure in every if figure.unit == RATE]
    growth = [figure for figure in every if figure.at is not None]
    if not rates and not growth:
        return False
    canvas = Canvas(figsize=(11, max(3.5, 0.28 * len(rates) + 1.5)), layout="constrained")
    parts = canvas.subplots(1, 2 if rates and growth else 1, squeeze=False)[0]
    if rates:
        _draw_rates(parts[0], rates)
    if growth:
        _draw_growth(parts[-1], growth)
    canvas.savefig(file, metadata={"Date": None})
    return True


def _draw_rates(axes: Axes, rates: Sequence[Figure]) -> None:
    names = [figure.name for figure in rates]
    colours = [OTHERS if any(o in name for o in _OTHERS) else OURS for name in names]
    axes.barh(names, [figure.value or 0.0 for figure in rates], color=colours)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("vectors a second")
    axes.tick_params(axis="y", labelsize=8)
    axes.grid(axis="x", alpha=0.3)


def _draw_growth(axes: Axes, growth: Sequence[Figure]) -> None:
    for what in ("vectors", "features"):
        points = [(figure.at, figure.value) for figure in growth if _grows_with(figure) == what]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", label=f"with {what}")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("number of vectors, or of features")
    axes.set_ylabel("microseconds of CPU a vector")
    axes.grid(alpha=0.3)
    axes.legend()


def _grows_with(figure: Figure) -> str:
    return "vectors" if "CPU of" in figure.name else "features"
