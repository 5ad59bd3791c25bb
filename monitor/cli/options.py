"""Options that several commands share, and how their text is read."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.errors import SettingsError

if TYPE_CHECKING:
    from rich.console import Console

LabelColumn = Annotated[
    str | None, typer.Option(help="Column of the labels: its name, or its position from 1.")
]
BenignLabels = Annotated[str, typer.Option(help="Labels that are normal, separated by commas.")]
FalseAlarmRate = Annotated[
    float, typer.Option(help="Share of normal vectors that may be alerts, between 0 and 1.")
]


def split_list(text: str) -> tuple[str, ...]:
    """Comma-separated words, without the empty ones."""
    return tuple(word for part in text.split(",") if (word := part.strip()))


def parse_widths(text: str) -> tuple[int, ...] | None:
    """Layer widths from "64,32,8"; None where nothing is given.

    Raises:
        SettingsError: something is no positive whole number.
    """
    words = split_list(text)
    if not all(word.isdecimal() and int(word) for word in words):
        raise SettingsError(f"--hidden {text!r}: expected positive whole numbers such as 64,32,8.")
    return tuple(map(int, words)) or None


def check_rate(rate: float, option: str = "--false-alarm-rate") -> float:
    """A rate strictly between 0 and 1.

    Raises:
        SettingsError: it is not.
    """
    if not 0 < rate < 1:
        raise SettingsError(f"{option} {rate:g}: expected a share between 0 and 1, such as 0.001.")
    return rate


def new_rate(
    false_alarm_rate: float | None,
    alerts_per_day: float | None,
    vectors_per_second: float | None,
) -> float | None:
    """The rate that `monitor threshold` is to set, in whichever words; None where in none.

    Raises:
        SettingsError: it is no budget, or is given twice, or a day has no known traffic.
    """
    from monitor.detect.budget import LARGEST_RATE, daily_rate

    if vectors_per_second is not None and not 0 < vectors_per_second < math.inf:
        raise SettingsError(
            f"--vectors-per-second {vectors_per_second:g}: expected a number of vectors above 0."
        )
    if alerts_per_day is None:
        if false_alarm_rate is None:
            return None
        return check_rate(false_alarm_rate, "--set-false-alarm-rate")
    if false_alarm_rate is not None:
        raise SettingsError(
            "--set-false-alarm-rate and --set-alerts-per-day are two words for one budget: keep "
            "one of them."
        )
    if vectors_per_second is None:
        raise SettingsError(
            "--set-alerts-per-day: needs --vectors-per-second, the traffic that a day is made of."
        )
    rate = daily_rate(alerts_per_day, vectors_per_second) if alerts_per_day > 0 else None
    if rate is None or rate == LARGEST_RATE:
        raise SettingsError(
            f"--set-alerts-per-day {alerts_per_day:g}: expected a number above 0 and below half of "
            "the vectors of a day."
        )
    return rate


def warn(console: "Console", text: str) -> None:
    """A warning, as all commands print one."""
    console.print(f"warning: {text}", style="yellow", markup=False, soft_wrap=True)


@contextmanager
def training_progress(console: "Console") -> Iterator[Callable[[int, int, float], None]]:
    """A progress bar that shows the held-back loss."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("training"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} steps, held-back error {task.fields[loss]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("training", total=None, visible=False, loss="")

        def show(step: int, steps: int, loss: float) -> None:
            bar.update(task, completed=step, total=steps, visible=True, loss=f"{loss:.4f}")

        yield show
