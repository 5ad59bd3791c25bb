"""`monitor evaluate`: how well a bundle tells attacks from normal traffic, on labelled data."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli.options import split_list

if TYPE_CHECKING:
    from rich.console import Console

LABELS_SHOWN = 100


def evaluate(
    bundle: Annotated[Path, typer.Argument(help="Folder of a trained bundle.")],
    file: Annotated[Path, typer.Argument(help="Labelled data in any format that train reads.")],
    label_column: Annotated[str, typer.Option(help="Column of the labels: name or position.")],
    benign: Annotated[str, typer.Option(help="Labels that are normal, separated by commas.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    report: Annotated[
        Path | None, typer.Option(help="Also write an HTML report to this file.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Measure a bundle on labelled traffic."""
    import json as json_lines

    from rich.console import Console

    from monitor.bundle import load
    from monitor.evaluate import evaluate as run_evaluation

    if report is not None:
        from monitor.report.evaluation import Judged, write_evaluation_report
        from monitor.report.page import check_writable

        check_writable(report)
    detector, manifest = load(bundle, device)
    evaluation = run_evaluation(detector, file, label_column, frozenset(split_list(benign)))
    figures = {"bundle": manifest.bundle_id, "file": file.name, **evaluation.figures()}
    if report is not None:
        write_evaluation_report(Judged(detector, manifest, file, evaluation), report)
    if evaluation.unsaid:
        Console(stderr=True).print(
            f"warning: {evaluation.unsaid}", style="yellow", markup=False, soft_wrap=True
        )
    if json:
        typer.echo(json_lines.dumps(figures))
    else:
        _print_table(Console(), figures)


def _print_table(console: "Console", figures: dict[str, Any]) -> None:
    from rich.table import Table

    summary = Table(title=f"bundle {figures['bundle']} on {figures['file']}", title_justify="left")
    summary.add_column("figure")
    summary.add_column("value", justify="right")
    for name, value in figures.items():
        if isinstance(value, (int, float)):
            summary.add_row(name, f"{value:,}" if isinstance(value, int) else f"{value:.4f}")
    for rate, share in figures["tpr_at_fpr"].items():
        summary.add_row(f"tpr at fpr {rate}", "-" if share is None else f"{share:.4f}")
    labels = Table(title="share over the threshold, by label", title_justify="left")
    for column in ("label", "vectors", "share"):
        labels.add_column(column, justify="left" if column == "label" else "right")
    for label, row in list(figures["by_label"].items())[:LABELS_SHOWN]:
        kind = "" if row["attack"] else " (benign)"
        labels.add_row(f"{label}{kind}", f"{row['vectors']:,}", f"{row['detection_rate']:.4f}")
    console.print(summary)
    console.print(labels)
    if (more := len(figures["by_label"]) - LABELS_SHOWN) > 0:
        console.print(f"and {more:,} more labels: is that the column of the labels?")
