"""The systemd unit is what systemd takes it for, and its settings are the monitor's."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from monitor.config_sources import load_settings
from tests.support import tools

SYSTEMD = Path(__file__).parents[2] / "deploy/systemd"
UNIT = "anomaly-monitor.service"
INSTALLED = "/opt/anomaly-monitor/venv/bin/monitor"
SINCE_254 = re.compile(r"Unknown key '(RestartSteps|RestartMaxDelaySec)'")


def value(directive: str) -> str:
    [found] = re.findall(rf"^{directive}=(.*)$", (SYSTEMD / UNIT).read_text(), re.MULTILINE)
    return str(found)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with a command that exists on this machine, and the GPU drop-in beside it."""
    unit = tmp_path / UNIT
    unit.write_text((SYSTEMD / UNIT).read_text().replace(INSTALLED, sys.executable))
    drop_ins = tmp_path / f"{UNIT}.d"
    drop_ins.mkdir()
    (drop_ins / "gpu.conf").write_text((SYSTEMD / "gpu.conf").read_text())
    return unit


def test_systemd_finds_nothing_to_say_about_the_unit(unit: Path) -> None:
    checked = subprocess.run(
        [tools.systemd_analyze(), "verify", "--man=no", unit], capture_output=True, text=True
    )
    said = [line for line in checked.stderr.splitlines() if not SINCE_254.search(line)]
    assert (said, checked.returncode) == ([], 0)


def test_the_unit_is_well_confined() -> None:
    subprocess.run(
        [tools.systemd_analyze(), "security", "--offline=true", "--threshold=20", SYSTEMD / UNIT],
        check=True,
        capture_output=True,
    )


def test_settings_that_are_wrong_do_not_make_it_restart_for_ever() -> None:
    assert value("RestartPreventExitStatus") == "2"


def test_systemd_waits_longer_than_the_monitor_takes_to_drain() -> None:
    assert int(value("TimeoutStopSec")) > 10


def test_systemd_leaves_it_to_the_supervisor_to_stop_the_workers() -> None:
    assert value("KillMode") == "mixed"


def test_a_reload_is_the_signal_that_the_monitor_reloads_on() -> None:
    assert value("ExecReload") == "kill -HUP $MAINPID"


def test_the_settings_are_the_monitors() -> None:
    settings = load_settings(SYSTEMD / "monitor.toml").settings
    assert settings.kafka.security_protocol == "PLAINTEXT"


def test_the_settings_that_are_commented_out_are_the_monitors(tmp_path: Path) -> None:
    secured = re.sub(
        r"^#(?=\w+ = |\[)", "", (SYSTEMD / "monitor.toml").read_text(), flags=re.MULTILINE
    )
    for name in ("ssl_cafile", "sasl_password_file"):  # files that this machine need not have
        here = tmp_path / name
        here.write_text("geheim")
        secured = re.sub(rf'(?<={name} = )".*?"', f'"{here}"', secured)
    file = tmp_path / "monitor.toml"
    file.write_text(secured)
    kafka = load_settings(file).settings.kafka
    assert (kafka.security_protocol, kafka.password()) == ("SASL_SSL", "geheim")


def test_the_settings_name_the_password_where_the_unit_puts_it() -> None:
    credential = f"/run/credentials/{UNIT}/{value('LoadCredential')}"
    assert credential in (SYSTEMD / "monitor.toml").read_text()
