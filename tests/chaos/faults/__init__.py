"""Every fault of the suite, by its name."""

from collections.abc import Mapping

from tests.chaos.faults import brokers, files, processes, rates
from tests.chaos.faults.fault import Fault

FAULTS: Mapping[str, type[Fault]] = {
    fault.name: fault for fault in (*processes.ALL, *brokers.ALL, *files.ALL, *rates.ALL)
}
