"""The plots of an evaluation, each drawn on the axes it is given."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta
from sklearn.metrics import precision_recall_curve, roc_curve

from monitor.detect.detector import Detector
from monitor.evaluate import Evaluation
from monitor.report.bundle import draw_latent
from monitor.report.page import ATTACK, INK, MUTED, NORMAL, THIRD, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CURVE_POINTS = 400
BINS = 80
RATES = np.geomspace(1e-4, 1e-1, 31)
CONFIDENCE = 0.95


def roc(axes: "Axes", evaluation: Evaluation) -> None:
    """True against false positive rate, for every threshold."""
    fpr, tpr, _ = roc_curve(evaluation.attack, evaluation.errors)
    lowest = max(0.5 / (~evaluation.attack).sum(), 1e-6)
    x, y = _thinned(np.maximum(fpr, lowest), tpr)
    axes.plot(x, y, color=ATTACK)
    axes.fill_between(x, y, color=ATTACK, alpha=0.08, linewidth=0)
    chance = np.geomspace(lowest, 1, 50)
    axes.plot(chance, chance, color=MUTED, linestyle=":", linewidth=1, label="by chance")
    detected = evaluation.detected
    own = detected[~evaluation.attack].mean(), detected[evaluation.attack].mean()
    axes.plot(max(own[0], lowest), own[1], "o", color=INK, label="threshold")
    axes.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC")
    axes.set(xscale="log", xlim=(lowest, 1), ylim=(0, 1.02))
    axes.legend(loc="best")


def precision_recall(axes: "Axes", evaluation: Evaluation) -> None:
    """Precision against recall, for every threshold."""
    precision, recall, _ = precision_recall_curve(evaluation.attack, evaluation.errors)
    x, y = _thinned(recall[::-1], precision[::-1])
    axes.plot(x, y, color=ATTACK)
    axes.fill_between(x, y, color=ATTACK, alpha=0.08, linewidth=0)
    share = evaluation.attack.mean()
    axes.axhline(share, color=MUTED, linestyle=":", linewidth=1, label="by chance")
    detected = evaluation.detected
    if detected.any():
        own = detected[evaluation.attack].mean(), evaluation.attack[detected].mean()
        axes.plot(*own, "o", color=INK, label="threshold")
    axes.set(xlabel="recall", ylabel="precision", title="Precision and recall")
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    axes.legend(loc="lower left")


def errors(axes: "Axes", evaluation: Evaluation) -> None:
    """Histogram of the errors of each class, with the threshold."""
    top = max(float(evaluation.errors.max()), evaluation.threshold) * 1.05
    floor = max(float(np.quantile(evaluation.errors, 0.001)), top * 1e-6)
    bins = np.geomspace(floor, top, BINS)
    classes = (("benign", ~evaluation.attack, NORMAL), ("attack", evaluation.attack, ATTACK))
    for name, which, color in classes:
        if which.any():
            shown = np.maximum(evaluation.errors[which], floor)
            label = f"{name} ({which.sum():,})"
            edges = bins.tolist()
            axes.hist(shown, edges, histtype="stepfilled", color=color, alpha=0.45, label=label)
            axes.hist(shown, edges, histtype="step", color=color)
    axes.axvline(evaluation.threshold, color=INK, linestyle="--", linewidth=1.2, label="threshold")
    axes.set(xscale="log", yscale="log", xlabel="reconstruction error", ylabel="vectors")
    axes.legend()


def by_label(axes: "Axes", evaluation: Evaluation, most: int) -> None:
    """Of each label the share over the bundle's threshold, and over that of 1 % false alarms."""
    counts = evaluation.label_counts()[:most]
    codes = [code for code, _ in counts]
    at_one_percent = evaluation.threshold_at(0.01) if evaluation.has_both else None
    place = np.arange(len(codes))

    def shares(over: NDArray[np.bool_]) -> list[float]:
        return [float(over[evaluation.label_codes == code].mean()) for code in codes]

    benign = [not evaluation.attack[evaluation.label_codes == code][0] for code in codes]
    colors = [NORMAL if is_benign else ATTACK for is_benign in benign]
    found = shares(evaluation.detected)
    if at_one_percent is None:
        axes.barh(place, found, 0.6, color=colors)
    else:
        axes.barh(place - 0.2, found, 0.36, color=colors, label="bundle's threshold")
        more = shares(evaluation.errors >= at_one_percent)
        axes.barh(place + 0.2, more, 0.36, color=colors, alpha=0.4, label="1 % false alarms")
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2)
    names = [plain(evaluation.label_names[code]) or "(none)" for code in codes]
    rows = [f"{name} ({count:,})" for name, (_, count) in zip(names, counts, strict=True)]
    axes.set_yticks(place, rows)
    axes.set(xlim=(0, 1), xlabel="share over the threshold")
    axes.set_ylim(len(codes) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def promises(axes: "Axes", evaluation: Evaluation, detector: Detector) -> None:
    """Realised against promised false-alarm rate, with the band that chance allows."""
    benign = np.sort(evaluation.errors[~evaluation.attack])
    thresholds = [detector.with_budget(float(rate)).threshold for rate in RATES]
    over = len(benign) - np.searchsorted(benign, thresholds, side="right")
    low, high = interval(over, len(benign))
    floor = min(RATES[0], 0.5 / len(benign)) / 2
    axes.fill_between(RATES, np.maximum(low, floor), high, color=NORMAL, alpha=0.2, linewidth=0)
    axes.plot(RATES, RATES, color=MUTED, linestyle=":", label="promise kept")
    axes.plot(RATES, np.maximum(over / len(benign), floor), color=NORMAL, label="realised")
    own = evaluation.detected[~evaluation.attack].mean()
    axes.plot(evaluation.false_alarm_rate_target, max(own, floor), "o", color=INK, label="bundle")
    axes.set(xscale="log", yscale="log", xlabel="promised false-alarm rate", ylabel="realised")
    axes.set_ylim(bottom=floor)
    axes.legend(loc="upper left")


def interval(count: NDArray[Any], total: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bounds of a share of which `count` of `total` were seen (Clopper & Pearson 1934)."""
    tail = (1 - CONFIDENCE) / 2
    low = np.nan_to_num(beta.ppf(tail, count, total - count + 1), nan=0.0)
    high = np.nan_to_num(beta.ppf(1 - tail, count + 1, total - count), nan=1.0)
    return low, high


def latent(axes: "Axes", evaluation: Evaluation, detector: Detector) -> None:
    """The latent vectors of the sample, by what became of them."""
    sample = evaluation.sample
    attack = evaluation.attack_label[sample.label_codes]
    found = sample.errors > evaluation.threshold
    groups = (
        ("benign", ~attack, NORMAL),
        ("attack, found", attack & found, ATTACK),
        ("attack, missed", attack & ~found, THIRD),
    )
    draw_latent(axes, detector.embed(sample.values), groups)


def _thinned(x: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """A curve of at most `CURVE_POINTS` points, evenly spread along it."""
    if len(x) <= CURVE_POINTS:
        return x, y
    with np.errstate(divide="ignore"):
        steps = np.abs(np.diff(np.log10(np.maximum(x, 1e-9)))) + np.abs(np.diff(y))
    along = np.concatenate(([0.0], np.cumsum(steps)))
    kept = np.searchsorted(along, np.linspace(0, along[-1], CURVE_POINTS))
    kept = np.unique(np.concatenate((kept.clip(0, len(x) - 1), [0, len(x) - 1])))
    return x[kept], y[kept]
