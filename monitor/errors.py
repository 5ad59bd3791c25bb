"""Every error a user can cause, as one tree.

    MonitorError                    exit code 1
    ├── SetupError                  exit code 2: nothing was consumed, change something first
    │   ├── SettingsError           the settings file, the environment or a flag
    │   ├── SpecError               a feature spec
    │   ├── BundleError             a trained bundle on disk
    │   ├── DataError               a data file
    │   ├── DeviceError             the device asked for is not there
    │   ├── BrokerError             the Kafka cluster, its topics and the rights on them
    │   └── PortError               the metrics port
    └── StreamError                 exit code 1: the running stream had to stop, restarting may help

Each text is one sentence that names the thing at fault, what was expected and what to do. The
command line prints that sentence alone, without a traceback, and exits with `exit_code`.
"""


class MonitorError(Exception):
    """Root of all errors that carry a sentence for the user."""

    exit_code = 1


class SetupError(MonitorError):
    """Something must be changed before the command can start."""

    exit_code = 2


class SettingsError(SetupError):
    """A setting is unknown, missing or has a value that cannot be used."""


class SpecError(SetupError):
    """A feature spec cannot be read or contradicts itself."""


class BundleError(SetupError):
    """A bundle is missing, damaged, of a newer format or made for another spec."""


class DataError(SetupError):
    """A data file cannot be read as vectors of the spec, or holds too few of them."""


class DeviceError(SetupError):
    """The device asked for is not available."""


class BrokerError(SetupError):
    """The Kafka cluster refuses what the settings ask for: a topic, a right, a login."""


class PortError(SetupError):
    """The telemetry port cannot be bound."""


class StreamError(MonitorError):
    """The running stream cannot go on without losing something, so it stops."""
