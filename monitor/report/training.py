"""The report of a training: what was trained on what, and what its threshold costs."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from monitor.report.bundle import bundle_facts, draw_latent
from monitor.report.page import ATTACK, MUTED, NORMAL, facts, plain, section, svg, table, write_page
from monitor.train import Trained

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEATURES_SHOWN = 30
LATENT_POINTS = 1_500


def write_training_report(trained: Trained, file: Path) -> None:
    """Write loss curves, error histogram with the threshold, and per-feature error.

    Raises:
        DataError: the file cannot be written.
    """
    title = f"Training report of bundle {trained.manifest.bundle_id}"
    write_page(file, title, _content(trained))


def _content(trained: Trained) -> Iterator[str]:
    yield facts(bundle_facts(trained.fitted.detector, trained.manifest))
    yield section(
        "Loss",
        "The network is trained with the error that it is judged by. The held-back part decides "
        "which epoch is kept.",
        svg(lambda axes: _draw_loss(axes, trained), size=(7.5, 2.6)),
    )
    yield section(
        "Errors of normal traffic, and the threshold",
        "Vectors that were not trained on. What lies beyond the line would be an alert.",
        svg(lambda axes: _draw_errors(axes, trained), size=(7.5, 2.8)),
    )
    yield section(
        "What a budget costs",
        "The share of normal vectors that may raise an alert, and the error that it means.",
        _budget(trained),
    )
    shown = min(len(trained.manifest.spec), FEATURES_SHOWN)
    yield section(
        "Which features are hard to reconstruct",
        "A long bar is a feature that normal traffic does not explain: noise, or an identifier "
        "that is better ignored.",
        svg(lambda axes: _draw_features(axes, trained, shown), size=(7.5, 0.9 + 0.2 * shown)),
    )
    yield section(
        "Latent space",
        "Where the network's bottleneck puts held-back vectors: the first two principal "
        "components. Clusters are kinds of traffic. The outermost points lie on the edges.",
        svg(lambda axes: _draw_latent(axes, trained), size=(7.5, 3.6)),
    )


def _budget(trained: Trained) -> str:
    """What other budgets would give: rate, threshold, alerts in a million normal vectors."""
    calibration = trained.fitted.detector.calibration
    return table(
        ("false-alarm rate", "threshold", "alerts in a million normal vectors"),
        [
            (f"{rate:g}", f"{calibration.threshold(rate):.4f}", f"{rate * 1e6:,.0f}")
            for rate in (0.01, 0.003, 0.001, 0.0003, 0.0001, 0.00001)
        ],
        text_columns=0,
    )


def _draw_loss(axes: "Axes", trained: Trained) -> None:
    history = trained.fitted.history
    epochs = np.arange(1, history.epochs + 1)
    marker = "o" if history.epochs == 1 else ""  # solved in closed form
    axes.plot(epochs, history.training_loss, marker=marker, color=MUTED, label="training")
    axes.plot(epochs, history.held_back_loss, marker=marker, color=NORMAL, label="held back")
    axes.axvline(history.best_epoch, color=ATTACK, linestyle=":", label="best epoch")
    axes.set(xlabel="epoch", ylabel="reconstruction error", yscale="log")
    axes.legend()


def _draw_errors(axes: "Axes", trained: Trained) -> None:
    detector = trained.fitted.detector
    errors = detector.calibration.errors
    top = max(float(errors[-1]), detector.threshold) * 1.1
    axes.hist(errors, bins=np.linspace(0, top, 80).tolist(), color=NORMAL, log=True)
    axes.axvline(detector.threshold, color=ATTACK, label="threshold")
    axes.set(xlabel="reconstruction error of held-back normal vectors", ylabel="vectors")
    axes.legend()


def _draw_features(axes: "Axes", trained: Trained, shown: int) -> None:
    detector = trained.fitted.detector
    means = detector.attribute(trained.fitted.held_back)[0].mean(axis=0)
    order = np.argsort(-means)[:shown][::-1]
    names = [plain(detector.spec.names[i]) for i in order]
    axes.barh(np.arange(len(order)), means[order], color=NORMAL)
    axes.set_yticks(np.arange(len(order)), names)
    axes.set(xlabel="mean error of held-back normal vectors", ylim=(-0.6, len(order) - 0.4))
    axes.grid(axis="y", visible=False)


def _draw_latent(axes: "Axes", trained: Trained) -> None:
    detector, vectors = trained.fitted.detector, trained.fitted.held_back[:LATENT_POINTS]
    over = detector.score(vectors).errors > detector.threshold
    groups = [("held back", ~over, NORMAL), ("over the threshold", over, ATTACK)]
    draw_latent(axes, detector.embed(vectors), groups)
