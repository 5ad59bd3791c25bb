"""`monitor train`: a file of normal traffic becomes a bundle and a report."""

from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.options import BenignLabels, FalseAlarmRate, LabelColumn, split_list
from monitor.errors import SettingsError

MAX_CONTAMINATION = 0.4


def train(
    file: Annotated[Path, typer.Argument(help="CSV, Zeek TSV, Parquet or JSON lines; gz or xz.")],
    spec: Annotated[str, typer.Option(help="Feature spec: a TOML file or preset:NAME.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the new bundle.")],
    label_column: LabelColumn = None,
    benign: BenignLabels = "",
    false_alarm_rate: FalseAlarmRate = 0.001,
    network: Annotated[
        str,
        typer.Option(help="dense, simple, denoising, vae, pca, gan or ensemble."),
    ] = "dense",
    seed: Annotated[int, typer.Option(help="Same seed, same machine: same weights.")] = 0,
    hidden: Annotated[
        str, typer.Option(help="Encoder widths, e.g. 64,32,8. Default: from the data.")
    ] = "",
    members: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=100,
            help="Networks side by side, of dense and denoising; default 3. "
            "Fewer are cheaper to score with and less steady.",
        ),
    ] = None,
    contamination: Annotated[
        float,
        typer.Option(help="Share of the rows, up to 0.4, feared to be attacks; left out."),
    ] = 0.0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Train a bundle on normal traffic."""
    from rich.console import Console

    from monitor.bundle import resolve_device
    from monitor.cli.options import check_rate, parse_widths, training_progress, warn
    from monitor.detect.budget import shortage
    from monitor.detect.calibration import poor_fit
    from monitor.detect.fit import FitOptions
    from monitor.detect.networks import dense_class, network_class
    from monitor.features import FeatureSpec
    from monitor.report.training import write_training_report
    from monitor.train import TrainingData
    from monitor.train import train as run_training

    console = Console(stderr=True)

    def notice(data: TrainingData) -> None:
        console.print(f"{file.name}: {len(data.values):,} normal vectors", markup=False)
        console.print(f"  {data.assumption}", markup=False)
        if data.thinned_from:
            console.print(f"  by chance, of {data.thinned_from:,} normal rows", markup=False)
        if data.rejected:
            console.print(
                f"  {data.rejected:,} rows are no vectors of the spec; the first, "
                f"{data.first_reject}",
                markup=False,
            )

    if members:
        dense_class(network)
    options = FitOptions(
        seed=seed,
        false_alarm_rate=check_rate(false_alarm_rate),
        hidden=parse_widths(hidden),
        device=str(resolve_device(device)),
        network=network_class(network).name,
        contamination=_check_contamination(contamination),
        members=members,
    )
    with training_progress(console) as progress:
        trained = run_training(
            file,
            FeatureSpec.load(spec),
            output,
            options,
            label_column,
            split_list(benign),
            progress,
            notice,
        )
    report = output / "report.html"
    write_training_report(trained, report)
    facts = trained.manifest
    if facts.training.left_out:
        warn(
            console,
            f"{facts.training.left_out:,} vectors were left out, also of the calibration: as far "
            "as they were normal, more of such traffic will alert than the false-alarm rate says.",
        )
    if reason := poor_fit(trained.fitted.detector.calibration):
        warn(console, reason)
    if reason := shortage(trained.fitted.detector.calibration, options.false_alarm_rate):
        warn(console, f"{reason}; give more data, or a larger --false-alarm-rate.")
    console.print(
        f"bundle {facts.bundle_id} in {output}: threshold {facts.calibration.threshold:.4f} for a "
        f"false-alarm rate of {facts.calibration.false_alarm_rate:g}, trained in "
        f"{facts.training.seconds:.1f} s (seed {facts.training.seed}); report: {report}",
        markup=False,
        soft_wrap=True,
    )


def _check_contamination(share: float) -> float:
    if not 0 <= share <= MAX_CONTAMINATION:
        raise SettingsError(
            f"--contamination {share:g}: expected a share between 0 and {MAX_CONTAMINATION:g}; "
            "where more of the rows are attacks, label them and name the benign ones."
        )
    return share
