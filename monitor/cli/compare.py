"""`monitor compare`: networks side by side on your data."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli.options import BenignLabels, FalseAlarmRate, LabelColumn, check_rate, split_list

if TYPE_CHECKING:
    from rich.console import Console

    from monitor.compare.verdict import Comparison, Run


def compare(
    files: Annotated[list[Path], typer.Argument(help="Data in any format that train reads.")],
    spec: Annotated[str, typer.Option(help="Feature spec: a TOML file or preset:NAME.")],
    networks: Annotated[
        str, typer.Option(help="Names separated by commas. Default: all there are.")
    ] = "",
    seeds: Annotated[int, typer.Option(min=1, help="How often each is trained.")] = 1,
    label_column: LabelColumn = None,
    benign: BenignLabels = "",
    test: Annotated[
        Path | None, typer.Option(help="Judge by this file instead of a part of the others.")
    ] = None,
    false_alarm_rate: FalseAlarmRate = 0.001,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write an HTML report to this file.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Train several networks on the same rows and see what each finds and costs."""
    import json as json_lines

    from rich.console import Console

    from monitor.bundle import resolve_device
    from monitor.cli.options import training_progress
    from monitor.compare.runs import compare as run_comparison
    from monitor.compare.subject import read_subject
    from monitor.detect.fit import FitOptions
    from monitor.features import FeatureSpec
    from monitor.report.comparison import write_comparison_report
    from monitor.report.page import check_writable

    console = Console(stderr=True)
    names = _networks(networks)
    options = FitOptions(
        false_alarm_rate=check_rate(false_alarm_rate), device=str(resolve_device(device))
    )
    if output is not None:
        check_writable(output)
    subject = read_subject(files, FeatureSpec.load(spec), label_column, split_list(benign), test)
    console.print(f"{subject.source}: {len(subject.data.values):,} normal vectors", markup=False)
    console.print(f"  {subject.data.assumption}", markup=False)
    done: list[Run] = []

    def notice(run: "Run") -> None:
        done.append(run)
        quality = "" if run.quality is None else f", AUC {run.quality.auc:.3f}"
        console.print(
            f"{len(done)} of {len(names) * seeds}: {run.network}, seed {run.seed}, trained in "
            f"{run.training_seconds:.1f} s{quality}",
            markup=False,
        )

    with training_progress(console) as progress:
        comparison = run_comparison(subject, names, seeds, options, progress, notice)
    if output is not None:
        write_comparison_report(comparison, output)
    if json:
        typer.echo(json_lines.dumps(comparison.figures()))
        return
    _print(Console(), comparison)
    if output is not None:
        console.print(f"report: {output}", markup=False, soft_wrap=True)
    if best := comparison.best():
        console.print(f"train it with `monitor train --network {best}`", markup=False)


def _print(console: "Console", comparison: "Comparison") -> None:
    from rich.table import Table

    from monitor.compare.verdict import LEGEND

    titles, rows = comparison.table()
    table = Table(box=None, pad_edge=False, collapse_padding=True)
    for title, *cells in zip(titles, *rows, strict=True):
        table.add_column(
            title,
            justify="left" if title == titles[0] else "right",
            overflow="fold",
            min_width=max(map(len, cells)),  # titles give way, figures do not
        )
    for row in rows:
        table.add_row(*row)
    console.print(table)
    if comparison.subject.labelled:
        console.print(LEGEND, style="dim", highlight=False)
    for sentence in comparison.advice():
        console.print(sentence, markup=False, highlight=False)


def _networks(text: str) -> tuple[str, ...]:
    """The networks of a list, each once; all where it is empty.

    Raises:
        SettingsError: there is no such network.
    """
    from monitor.detect.networks import NETWORKS, network_class

    return tuple(dict.fromkeys(network_class(name).name for name in split_list(text) or NETWORKS))
