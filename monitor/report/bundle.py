"""What the reports of a bundle share: what was trained on what, and its latent space."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from monitor.batch import Matrix
from monitor.contracts.manifest import Manifest
from monitor.detect.calibration import poor_fit
from monitor.detect.detector import Detector
from monitor.report.page import LINE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OUTERMOST_SHARE = 0.005
"""Points at each end that are drawn in, so that they do not make a dot of all the others."""


def bundle_facts(detector: Detector, manifest: Manifest) -> dict[str, str]:
    """What was trained on what, with which result."""
    training = manifest.training
    return {
        "Trained on": f"{training.source}: {training.vectors:,} vectors, "
        f"{training.vectors_held_back:,} held back, {training.rejected:,} rows rejected"
        + (f", {training.left_out:,} left out as feared attacks" if training.left_out else ""),
        "Taken as normal": training.assumption,
        "Spec": f"{manifest.spec.name}, {len(manifest.spec)} features",
        "Network": _network(detector, manifest),
        "Training": f"{training.epochs} epochs (best: {training.best_epoch}) in "
        f"{training.seconds:.1f} s, seed {training.seed}, {training.trained_at[:10]}",
        "False-alarm rate": f"{detector.false_alarm_rate:g}",
        "Threshold": f"{detector.threshold:.4f}",
        "Tail of the errors": poor_fit(detector.calibration)
        or f"follows the fitted one (p = {detector.calibration.tail.fit_p_value:.2f})",
        "Libraries": ", ".join(f"{k} {v}" for k, v in manifest.libraries.items()),
    }


def _network(detector: Detector, manifest: Manifest) -> str:
    facts = manifest.network
    words = [f"{facts.name} of {detector.model.preprocessor.inputs} inputs"]
    for name, value in facts.hyperparameters().items():
        words.append(f"{name} {' - '.join(map(str, value)) if isinstance(value, tuple) else value}")
    return ", ".join(words)


def draw_latent(
    axes: "Axes", latents: Matrix, groups: Sequence[tuple[str, NDArray[np.bool_], str]]
) -> None:
    """The first two principal components of (n, k) latent vectors.

    `groups` are named and coloured; each has (n,) flags of its vectors.
    """
    points = _two_dimensions(latents.astype(np.float64))
    for name, which, color in groups:
        if which.any():
            x, y = points[which].T
            axes.scatter(x, y, s=7, color=color, alpha=0.45, linewidths=0, label=name)
    axes.set(xticks=[], yticks=[], xlabel="first component", ylabel="second component")
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.legend(markerscale=2)


def _two_dimensions(latents: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = latents - latents.mean(axis=0)
    directions = np.linalg.svd(centred, full_matrices=False)[2][:2]
    points = centred @ directions.T  # (n, k) -> (n, at most 2)
    points = np.pad(points, ((0, 0), (0, 2 - points.shape[1])))
    low, high = np.quantile(points, (OUTERMOST_SHARE, 1 - OUTERMOST_SHARE), axis=0)
    drawn_in: NDArray[np.float64] = points.clip(low, high)
    return drawn_in
