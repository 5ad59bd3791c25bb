"""One of the processes of `monitor run --workers N`, as it sees itself.

    if place := Place.here():                 # None: this is no worker
        end_with_parent()
        place.share(settings)                 # its part of what the settings give to the host
        tell(url=service.url)                 # to the supervisor: monitor.stream.supervisor

A worker is `monitor run` with the same command line. Its place comes in the environment, and what
it tells goes to standard output, a JSON object a line.
"""

import ctypes
import json
import os
import signal
import sys
from dataclasses import dataclass
from math import ceil
from types import FrameType
from typing import Self

from monitor.config import Settings, TelemetrySettings

PLACE = "ANOMALY_MONITOR_WORKER"
"""Not named like a setting: it is none."""
GPUS = "CUDA_VISIBLE_DEVICES"
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Place:
    """Which of how many; numbers from 0."""

    number: int
    count: int

    @classmethod
    def here(cls) -> Self | None:
        """That of this process."""
        number, _, count = os.environ.get(PLACE, "").partition("/")
        return cls(int(number), int(count)) if count else None

    def environment(self) -> dict[str, str]:
        """What a process in this place is started with: its part of the cores and of the GPUs."""
        cores = max(1, len(os.sched_getaffinity(0)) // self.count)
        environment = {"OMP_NUM_THREADS": str(cores), **os.environ}  # of all numeric libraries
        gpus = [gpu for gpu in os.environ.get(GPUS, "").split(",") if gpu]
        if gpus:
            environment[GPUS] = gpus[self.number % len(gpus)]
        return {**environment, PLACE: f"{self.number}/{self.count}"}

    def share(self, settings: Settings) -> Settings:
        """The settings of one worker: a name of its own, and its part of what the host may do."""
        kafka, incidents, spikes = settings.kafka, settings.incidents, settings.spikes
        names = {"client_id": f"{kafka.client_id}-{self.number}"}
        if kafka.group_instance_id:
            names["group_instance_id"] = f"{kafka.group_instance_id}-{self.number}"
        limits = {
            name: ceil(getattr(incidents, name) / self.count)
            for name in ("max_incidents_per_minute", "max_open_incidents")
        }
        level = {
            "false_alarm_interval_days": spikes.false_alarm_interval_days * self.count,
            "max_entities": ceil(spikes.max_entities / self.count),
        }
        budget = settings.alerts_per_day and settings.alerts_per_day / self.count
        return settings.model_copy(
            update={
                "alerts_per_day": budget,
                "kafka": kafka.model_copy(update=names),
                "incidents": incidents.model_copy(update=limits),
                "spikes": spikes.model_copy(update=level),
                "telemetry": TelemetrySettings(host="127.0.0.1", port=0),
            }
        )


def end_with_parent() -> None:
    """End as if by SIGTERM when the supervisor ends, even by kill -9 (on Linux).

    It may have ended just before; `tell` finds that out.
    """
    if sys.platform == "linux":
        signal.signal(signal.SIGUSR1, _orphaned)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGUSR1)


def _orphaned(_number: int, _frame: FrameType | None) -> None:
    """The kernel says so for each thread of the supervisor, but a second SIGTERM would not wait."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.raise_signal(signal.SIGTERM)


def tell(**facts: str) -> None:
    """Say something to the supervisor.

    Raises:
        BrokenPipeError: it is no more.
    """
    print(json.dumps(facts), flush=True)  # noqa: T201  # standard output is the way to it
