"""The training report: one self-contained HTML file with plots drawn as SVG."""

import html
import io
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from monitor.errors import DataError
from monitor.train import Trained

if TYPE_CHECKING:
    from matplotlib.axes import Axes

mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "anomaly-monitor", "font.size": 9})

NORMAL, LIMIT = "#2b6cb0", "#c53030"
FEATURES_SHOWN = 30


def write_training_report(trained: Trained, file: Path) -> None:
    """Write loss curves, error histogram with the threshold, and per-feature error.

    Raises:
        DataError: the file cannot be written.
    """
    manifest = trained.manifest
    page = Template(files("monitor").joinpath("report.html").read_text("utf-8")).substitute(
        bundle=manifest.bundle_id,
        facts=_facts(trained),
        loss=_svg(_draw_loss, trained, (7.5, 2.6)),
        errors=_svg(_draw_errors, trained, (7.5, 2.8)),
        features=_svg(_draw_features, trained, (7.5, 0.9 + 0.2 * _shown(trained))),
        budget=_budget(trained),
    )
    try:
        file.write_text(page, "utf-8")
    except OSError as error:
        raise DataError(f"report {file}: cannot be written ({error.strerror}).") from error


def _facts(trained: Trained) -> str:
    manifest = trained.manifest
    training, network = manifest.training, trained.fitted.detector.model
    widths = " - ".join(map(str, (network.preprocessor.inputs, *manifest.network.hidden)))
    rows = {
        "Spec": f"{manifest.spec.name}, {len(manifest.spec)} features",
        "Trained on": f"{training.source}: {training.vectors:,} vectors, "
        f"{training.vectors_held_back:,} held back, {training.rejected:,} rows rejected",
        "Taken as normal": training.assumption,
        "Network": f"dense autoencoder, {widths} and back",
        "Training": f"{training.epochs} epochs (best: {training.best_epoch}) in "
        f"{training.seconds:.1f} s, seed {training.seed}",
        "False-alarm rate": f"{manifest.calibration.false_alarm_rate:g}",
        "Threshold": f"{manifest.calibration.threshold:.4f}",
        "Libraries": ", ".join(f"{k} {v}" for k, v in manifest.libraries.items()),
    }
    return "".join(
        f"<tr><th scope=row>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
        for name, value in rows.items()
    )


def _budget(trained: Trained) -> str:
    """What other budgets would give: rate, threshold, alerts in a million normal vectors."""
    calibration = trained.fitted.detector.calibration
    return "".join(
        f"<tr><td>{rate:g}</td><td>{calibration.threshold(rate):.4f}</td>"
        f"<td>{rate * 1e6:,.0f}</td></tr>"
        for rate in (0.01, 0.003, 0.001, 0.0003, 0.0001, 0.00001)
    )


def _draw_loss(axes: "Axes", trained: Trained) -> None:
    history = trained.fitted.history
    epochs = np.arange(1, history.epochs + 1)
    axes.plot(epochs, history.training_loss, color="#718096", label="training")
    axes.plot(epochs, history.held_back_loss, color=NORMAL, label="held back")
    axes.axvline(history.best_epoch, color=LIMIT, linestyle=":", label="best epoch")
    axes.set(xlabel="epoch", ylabel="reconstruction error", yscale="log")
    axes.legend(frameon=False)


def _draw_errors(axes: "Axes", trained: Trained) -> None:
    detector = trained.fitted.detector
    errors = detector.calibration.errors
    top = max(float(errors[-1]), detector.threshold) * 1.1
    axes.hist(errors, bins=np.linspace(0, top, 80).tolist(), color=NORMAL, log=True)
    axes.axvline(detector.threshold, color=LIMIT, label="threshold")
    axes.set(xlabel="reconstruction error of held-back normal vectors", ylabel="vectors")
    axes.legend(frameon=False)


def _draw_features(axes: "Axes", trained: Trained) -> None:
    detector = trained.fitted.detector
    means = detector.attribute(trained.fitted.held_back)[0].mean(axis=0)
    order = np.argsort(-means)[: _shown(trained)][::-1]
    names = [_plain(detector.spec.names[i]) for i in order]
    axes.barh(np.arange(len(order)), means[order], color=NORMAL)
    axes.set_yticks(np.arange(len(order)), names)
    axes.set(xlabel="mean error of held-back normal vectors")


def _shown(trained: Trained) -> int:
    return min(len(trained.manifest.spec), FEATURES_SHOWN)


def _plain(name: str) -> str:
    """A feature name that matplotlib will not read as mathematics."""
    return name[:40].replace("$", r"\$")


def _svg(draw: object, trained: Trained, size: tuple[float, float]) -> str:
    assert callable(draw)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    draw(axes, trained)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
