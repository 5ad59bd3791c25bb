"""Programs that the tests run and pip does not bring: taken from PATH, else from Debian's package.

    subprocess.run([tools.promtool(), "check", "rules", path], check=True)

The package is unpacked into the user's cache and not installed, which needs no root and starts no
service. Where a program cannot be had its test is skipped with the reason; in CI it fails.
"""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "anomaly-monitor/tools"


def promtool() -> Path:
    """Prometheus' checker of configurations and rules."""
    return _program("promtool", package="prometheus")


def prometheus() -> Path:
    """The Prometheus server."""
    return _program("prometheus", package="prometheus")


def systemd_analyze() -> Path:
    """systemd's checker of units; it belongs to the machine, so it is not fetched."""
    return _program("systemd-analyze", package=None)


@cache
def _program(name: str, package: str | None) -> Path:
    if on_path := shutil.which(name):
        return Path(on_path)
    if package is None:
        _do_without(name, "it is not on PATH")
    unpacked = CACHE / package
    try:
        if not unpacked.exists():
            _unpack(package, unpacked)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None)
        _do_without(name, f"it is not on PATH, and Debian's package {package}: {said or error}")
    return unpacked / "usr/bin" / name


def _do_without(name: str, reason: str) -> None:
    decide = pytest.fail if os.environ.get("CI") else pytest.skip
    decide(f"{name} cannot be had: {reason}")


def _unpack(package: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target.parent) as scratch:
        _download(package, Path(scratch))
        [archive] = Path(scratch).glob("*.deb")
        _run("dpkg", "-x", str(archive), "root", folder=Path(scratch))
        try:
            Path(scratch, "root").rename(target)
        except OSError:
            if not target.exists():  # else a test run beside this one was faster
                raise


def _download(package: str, folder: Path) -> None:
    try:
        _run("apt-get", "download", package, folder=folder)
    except subprocess.CalledProcessError:
        # The machine's package lists are empty, or name a version that is gone: read our own.
        Path(folder, "lists/partial").mkdir(parents=True)
        own = [f"-oDir::State::Lists={folder}/lists", f"-oDir::Cache={folder}/cache"]
        _run("apt-get", *own, "update", folder=folder)
        _run("apt-get", *own, "download", package, folder=folder)


def _run(*command: str, folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=120)
