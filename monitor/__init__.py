"""A streaming anomaly monitor for network security: Kafka vectors in, explained alerts out."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("anomaly-monitor")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0.0.0"
