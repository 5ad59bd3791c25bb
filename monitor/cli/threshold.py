"""`monitor threshold`: what other budgets would cost, and moving a bundle to one of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from monitor.detect.tradeoff import Choice, TailCurve

PLOT_COLUMNS = 64


def threshold(
    bundle: Annotated[Path, typer.Argument(help="Folder of a trained bundle.")],
    vectors_per_second: Annotated[
        float | None, typer.Option(help="Your traffic, to tell alerts in a day.")
    ] = None,
    traffic: Annotated[
        Path | None,
        typer.Option(help="Recent traffic, in any format that train reads: how much would alert."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the plot into this SVG file.")] = None,
    set_false_alarm_rate: Annotated[
        float | None, typer.Option(help="Move the bundle's own budget to this share.")
    ] = None,
    set_alerts_per_day: Annotated[
        float | None,
        typer.Option(help="Move it to so many alerts in a day of --vectors-per-second."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what each false-alarm budget costs, and move the bundle's without training again."""
    from rich.console import Console

    from monitor.bundle import load, move_budget
    from monitor.cli.options import new_rate, warn
    from monitor.detect.budget import shortage
    from monitor.detect.calibration import poor_fit
    from monitor.detect.tradeoff import tail_curve, trade_off
    from monitor.traffic import score_traffic

    rate = new_rate(set_false_alarm_rate, set_alerts_per_day, vectors_per_second)
    if plot:
        from monitor.report.page import check_writable
        from monitor.report.tradeoff import write_tradeoff_plot

        check_writable(plot)
    console = Console(stderr=True)
    detector, manifest = load(bundle)
    errors = score_traffic(detector, traffic) if traffic else None
    if rate is not None:
        manifest, detector = move_budget(bundle, rate), detector.with_budget(rate)
        console.print(
            f"bundle {manifest.bundle_id} in {bundle}: threshold {detector.threshold:.4f} for a "
            f"false-alarm rate of {rate:.3g}; a daemon that runs takes it at SIGHUP",
            markup=False,
            soft_wrap=True,
        )
    if reason := poor_fit(detector.calibration):
        warn(console, reason)
    if reason := shortage(detector.calibration, detector.false_alarm_rate):
        warn(console, f"{reason}.")
    choices = trade_off(detector, vectors_per_second, errors)
    curve = tail_curve(detector, errors)
    if plot:
        write_tradeoff_plot(plot, curve, detector.threshold)
    if json:
        _print_json(manifest.bundle_id, detector.false_alarm_rate, choices)
    else:
        _print_table(Console(), choices, detector.false_alarm_rate)
        _print_plot(Console(), curve, detector.threshold)


def _print_json(bundle_id: str, rate: float, choices: list["Choice"]) -> None:
    import json
    from dataclasses import asdict

    budgets = [asdict(choice) for choice in choices]
    typer.echo(json.dumps({"bundle": bundle_id, "false_alarm_rate": rate, "budgets": budgets}))


def _print_table(console: "Console", choices: list["Choice"], rate: float) -> None:
    from rich.table import Table

    table = Table()
    for heading in ("rate", "threshold", "held back", "is"):
        table.add_column(heading, justify="right")
    if choices[0].alerts_per_day is not None:
        table.add_column("alerts a day", justify="right")
    if choices[0].traffic_over_ratio is not None:
        table.add_column("traffic", justify="right")
    for choice in choices:
        own = choice.false_alarm_rate == rate
        cells = [
            f"{'* ' if own else ''}{choice.false_alarm_rate:.3g}",
            f"{choice.threshold:.4f}",
            f"{choice.held_back_beyond:,}",
            "measured" if choice.measured else "extrapolated",
        ]
        if choice.alerts_per_day is not None:
            cells.append(_count(choice.alerts_per_day))
        if choice.traffic_over_ratio is not None:
            cells.append(f"{choice.traffic_over_ratio:.3%}")
        table.add_row(*cells, style="bold" if own else "")
    console.print(table)
    console.print(
        "rate: share of normal vectors over the threshold; held back: those of the calibration "
        "that are; traffic: its share; *: the bundle's own budget"
    )


def _count(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.2g}"


def _print_plot(console: "Console", curve: "TailCurve", own_threshold: float) -> None:
    from rich.text import Text

    from monitor.report import terminal

    columns = min(PLOT_COLUMNS, console.width - 9)
    console.print("\nshare of vectors with a larger error:")
    for line in terminal.tail_plot(curve, own_threshold, columns):
        console.print(line)
    legend = [
        ("normal vectors, measured", terminal.MEASURED),
        ("extrapolated", terminal.EXTRAPOLATED),
        ("the threshold", terminal.THRESHOLD),
    ]
    if curve.traffic is not None:
        legend.append(("recent traffic", terminal.TRAFFIC))
    console.print(Text("   ").join(Text(f"\u2022 {word}", style) for word, style in legend))
