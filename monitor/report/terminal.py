"""Plots in a terminal, with eight dots a character.

for line in tail_plot(tail_curve(detector), detector.threshold, columns=60):
    console.print(line)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.text import Text

from monitor.batch import Vector64
from monitor.detect.tradeoff import TailCurve

_BLANK = 0x2800
_DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
"""Bit of each dot in a character of four rows and two columns."""
MEASURED, EXTRAPOLATED, TRAFFIC, THRESHOLD = "blue", "yellow", "green", "red"
ROWS_A_DECADE = 2


@dataclass(frozen=True, slots=True)
class Curve:
    """(n,) points with both coordinates in [0, 1]; those outside are left out."""

    x: Vector64
    y: Vector64
    style: str


def braille(curves: Sequence[Curve], columns: int, rows: int) -> list[Text]:
    """Lines from the top; where curves share a character it has the style of the last."""
    bits = np.zeros((rows, columns), dtype=np.int64)
    styles = np.full((rows, columns), "", dtype=object)
    for curve in curves:
        inside = (curve.x >= 0) & (curve.x <= 1) & (curve.y >= 0) & (curve.y <= 1)
        across = (curve.x[inside] * (2 * columns - 1)).round().astype(np.int64)
        down = ((1 - curve.y[inside]) * (4 * rows - 1)).round().astype(np.int64)
        cells = (down // 4, across // 2)
        np.bitwise_or.at(bits, cells, _DOTS[down % 4, across % 2])
        styles[cells] = curve.style
    return [
        Text.assemble(*((chr(_BLANK + dots), style) for dots, style in zip(*line, strict=True)))
        for line in zip(bits.tolist(), styles.tolist(), strict=True)
    ]


def tail_plot(curve: TailCurve, threshold: float, columns: int) -> list[Text]:
    """Share of vectors above an error, on a logarithmic scale, with the threshold as a line."""
    decades = int(np.ceil(-np.log10(curve.rates[-1]) - 1e-9))
    low, high = float(curve.errors[0]), float(max(curve.errors[-1], threshold))

    def place(errors: Vector64, rates: Vector64, style: str) -> Curve:
        with np.errstate(divide="ignore"):
            height = 1 + np.log10(rates) / decades
        return Curve((errors - low) / (high - low), height, style)

    sure = curve.measured
    curves = [
        place(curve.errors[~sure], curve.rates[~sure], EXTRAPOLATED),
        place(curve.errors[sure], curve.rates[sure], MEASURED),
    ]
    if curve.traffic is not None:
        curves.append(place(curve.errors, curve.traffic, TRAFFIC))
    column = np.geomspace(1, curve.rates[-1], 4 * ROWS_A_DECADE * decades)
    curves.insert(0, place(np.full(len(column), threshold), column, THRESHOLD))
    lines = braille(curves, columns, ROWS_A_DECADE * decades)
    labels = [f"{10.0 ** -(row / ROWS_A_DECADE):g}" for row in range(len(lines))]
    labels[1::ROWS_A_DECADE] = [""] * decades
    ticks = [Text(f"{label:>7} ") for label in labels]
    axis = Text(f"{'':>8}{low:<{columns // 2}.3g}{high:>{columns - columns // 2}.3g}")
    return [tick + line for tick, line in zip(ticks, lines, strict=True)] + [axis]
