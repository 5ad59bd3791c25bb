"""What a benchmark finds out, and the machine it found it out on."""

import operator
import os
import platform
import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LIBRARIES = (
    *("anomaly-monitor", "torch", "numpy", "kafka-python", "confluent-kafka", "orjson", "msgspec"),
    *("pyarrow", "crc32c", "lz4", "pyod", "pysad", "bytewax"),
)

_RELATIONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "<": operator.lt,
}


@dataclass(frozen=True, slots=True)
class Goal:
    """What a value is to reach or to stay below, such as Goal(">=", 0.85)."""

    relation: str
    bound: float

    def met_by(self, value: float) -> bool:
        return _RELATIONS[self.relation](value, self.bound)

    def __str__(self) -> str:
        return f"{self.relation} {self.bound:,.10g}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table.

    Attributes:
        values: one, or one of each repetition; none where it could not be measured.
        note: what a reader needs to know to judge it; where the time went, or why there is none.
        statistic: makes one value of several.
        at: how much it is of, where the figure is one of a growth.
    """

    name: str
    unit: str
    values: float | Sequence[float]
    goal: Goal | None = None
    note: str = ""
    statistic: Callable[[Sequence[float]], float] = statistics.median
    at: float | None = None

    @classmethod
    def skipped(cls, name: str, reason: str) -> "Figure":
        """A row that is missing, and why."""
        return cls(name, "", (), note=f"skipped: {reason}")

    @property
    def all(self) -> Sequence[float]:
        return self.values if isinstance(self.values, Sequence) else (self.values,)

    @property
    def value(self) -> float | None:
        return self.statistic(self.all) if self.all else None

    @property
    def good(self) -> bool | None:
        """Whether the goal is met; None without one, or without a value."""
        if self.goal is None or self.value is None:
            return None
        return self.goal.met_by(self.value)

    def facts(self) -> dict[str, Any]:
        """As it is written to the file."""
        return {
            "name": self.name,
            "unit": self.unit,
            "value": self.value,
            "statistic": self.statistic.__name__ if len(self.all) > 1 else None,
            "values": list(self.all),
            "goal": self.goal and str(self.goal),
            "good": self.good,
            "note": self.note,
        }


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": next(_cpu_models(), platform.machine()),
        "cores": os.cpu_count(),
        "memory_gb": round(memory_bytes / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: found for name in LIBRARIES if (found := installed(name))},
    }


def installed(package: str) -> str | None:
    """Its version, where it is there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_models() -> Iterator[str]:
    info = Path("/proc/cpuinfo")
    if info.exists():
        yield from re.findall(r"model name\s*:\s*(.+)", info.read_text())
