"""`make bench`: `monitor bench --stage all` on Apache Kafka, and what takes the repository.

python -m tests.bench                      # everything, within twelve minutes
python -m tests.bench --only latency       # one of them, or several: --only a --only b
python -m tests.bench --json               # the figures on standard output
python -m tests.bench --data DIR           # detection on further data sets, where DIR has them
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from monitor.bench.bench import Extent
from monitor.bench.run import STAGES, run, stages
from tests.bench import clients, delivery, detection, explanation, floods
from tests.support.kafka_server import KafkaMissingError, KafkaServer, version

OURS = ("clients", "delivery", "floods", "detection", "explanation")
RESULTS = Path("bench-results")
WIDTH = 160


def main() -> None:
    asked = _arguments()
    console = Console(stderr=True, width=None if sys.stderr.isatty() else WIDTH)
    every = {
        **stages(STAGES),
        "clients": clients.run,
        "delivery": delivery.run,
        "floods": floods.run,
        "detection": partial(detection.run, data=asked.data),
        "explanation": partial(explanation.run, data=asked.data),
    }
    chosen = {name: every[name] for name in asked.only or every}
    console.print(f"starting Apache Kafka {version()}", highlight=False)
    # With all of Java's compilers, as in production.
    with (
        TemporaryDirectory(prefix="anomaly-monitor-kafka-") as folder,
        KafkaServer(Path(folder), java_options=()) as server,
    ):
        extent = Extent(server.bootstrap_servers, asked.client, full=asked.full)
        found = run(chosen, extent, console, RESULTS, f"Apache Kafka {version()}")
    if asked.json:
        print(json.dumps(found))
    if found["failed"]:
        sys.exit(1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("tests.bench", description="The monitor in figures.")
    names = (*STAGES, *OURS)
    parser.add_argument("--only", action="append", choices=names, help="this one alone")
    parser.add_argument("--json", action="store_true", help="the figures on standard output")
    parser.add_argument("--full", action="store_true", help="the whole range, however long")
    parser.add_argument("--client", default="kafka-python", help="as kafka.client")
    parser.add_argument("--data", type=Path, help="folder of further data sets for detection")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except KafkaMissingError as error:
        sys.exit(f"The benchmarks need Apache Kafka: {error}.")
