"""The `monitor` command: what it says, and with which exit code it ends."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer

from monitor import __version__
from monitor.cli import app, main
from monitor.features import FeatureSpec

HEAVY = {"torch", "kafka", "numpy", "pyarrow", "sklearn", "scipy", "matplotlib", "pydantic"}
SPEC = """
name = "flows"
features = [{ name = "bytes", kind = "numeric" }, { name = "proto", kind = "categorical" }]
"""
ROWS = "bytes,proto,Label\n" + "".join(
    f"{n * n % 17},{'tcp' if n % 3 else 'udp'},{'ok' if n % 2 else 'bad'}\n" for n in range(100)
)


class Ended(NamedTuple):
    code: Any
    output: str
    errors: str


Monitor = Callable[..., Ended]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a file of traffic and a spec that reads it."""
    (tmp_path / "flows.csv").write_text(ROWS)
    (tmp_path / "spec.toml").write_text(SPEC)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def monitor(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Monitor:
    """The command as the terminal starts it, in this process."""
    for name in [name for name in os.environ if name.startswith("MONITOR_")]:
        monkeypatch.delenv(name)

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["monitor", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return Ended(ended.value.code or 0, *capsys.readouterr())

    return run


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from monitor.cli import main; sys.argv = ['monitor', '--help']\n"
        "try: main()\n"
        "except SystemExit: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "streaming anomaly monitor" in done.stdout
    assert not HEAVY & set(done.stderr.split())


@pytest.mark.parametrize("path", list(commands(typer.main.get_command(app))), ids=" ".join)
def test_every_command_explains_itself(monitor: Monitor, path: tuple[str, ...]) -> None:
    long, short = monitor(*path, "--help"), monitor(*path, "-h")
    assert long.code == 0
    assert re.search(r"^ ?[A-Z].{20,}", long.output, re.MULTILINE)
    assert short.output == long.output


def test_the_version_is_the_package_s(monitor: Monitor) -> None:
    assert monitor("--version") == Ended(0, f"monitor {__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--nope"],
        ["nope"],
        ["train", "--nope"],
        ["train"],
        ["replay", "flows.csv", "--limit", "-1"],
    ],
    ids=" ".join,
)
def test_what_is_no_command_or_option_ends_with_exit_code_2(
    monitor: Monitor, arguments: list[str]
) -> None:
    ended = monitor(*arguments)
    assert ended.code == 2
    assert "Traceback" not in ended.errors


@pytest.mark.parametrize(
    "command", [["-m", "monitor"], ["-c", "from monitor.cli import main; main()"]]
)
def test_an_error_of_the_user_is_one_sentence_on_standard_error(command: list[str]) -> None:
    arguments = [sys.executable, *command, "run", "--config", "/no/such.toml"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: settings /no/such.toml: cannot be read (No such file or directory).\n"
    )


TRAIN = "train flows.csv --spec spec.toml -o b"
WRONG = {
    "train no-such.csv --spec spec.toml -o b": "file no-such.csv: cannot be read (No such file",
    "train flows.csv --spec no.toml -o b": "spec no.toml: cannot be read (No such file",
    "train flows.csv --spec preset:no -o b": "spec preset:no: no such preset; there are preset:",
    "train flows.csv --spec broken.toml -o b": "spec broken.toml: is not valid TOML",
    "train flows.csv --spec odd.toml -o b": "spec odd.toml: features.0.kind: Input should be",
    "train flows.csv --spec wide.toml -o b": "file flows.csv: has no column 'port', which the spec",
    "train flows.csv --spec spec.toml -o other": "bundle other: exists and is no bundle",
    "train flows.csv --spec spec.toml -o flows.csv": "bundle flows.csv: exists and is no bundle",
    TRAIN: "training needs at least",
    f"{TRAIN} --label-column nope --benign ok": "has no column 'nope'; it has 3, among them",
    f"{TRAIN} --label-column 9 --benign ok": "has no column '9'",
    f"{TRAIN} --label-column Label": "name the benign labels of column 'Label'",
    f"{TRAIN} --benign ok": "benign labels need the column that holds them",
    f"{TRAIN} --label-column Label --benign OK": "no row is labelled OK; the labels are",
    f"{TRAIN} --label-column proto --benign tcp": "label column is the feature 'proto'",
    f"{TRAIN} --false-alarm-rate 0": "--false-alarm-rate 0: expected a share between",
    f"{TRAIN} --false-alarm-rate 1": "--false-alarm-rate 1: expected a share between",
    f"{TRAIN} --false-alarm-rate -0.1": "--false-alarm-rate -0.1: expected a share",
    f"{TRAIN} --false-alarm-rate nan": "--false-alarm-rate nan: expected a share",
    f"{TRAIN} --hidden a,b": "--hidden 'a,b': expected positive whole numbers",
    f"{TRAIN} --hidden 64,0": "--hidden '64,0': expected positive whole numbers",
    f"{TRAIN} --network no": "network 'no': no such network; there are dense, simple",
    f"{TRAIN} --device tpu": "device: 'tpu' is none of auto, cpu",
    "compare flows.csv --spec spec.toml --networks pca,no": "network 'no': no such network; there",
    "compare flows.csv --spec spec.toml --benign ok": "benign labels need the column",
    "compare flows.csv --spec spec.toml --test no.csv": "file no.csv: cannot be read",
    "compare flows.csv --spec spec.toml -o no/report.html": "report no/report.html: cannot be",
    "embed none flows.csv -o latent.npy": "bundle none: no such folder",
    "embed none flows.csv -o latent.xlsx": "file latent.xlsx: expected a name that ends in",
    "evaluate none flows.csv --label-column Label --benign ok": "bundle none: no such folder",
    "evaluate other flows.csv --label-column Label --benign ok": "bundle other: manifest.json is",
    "replay no-such.csv --spec spec.toml --topic t": "file no-such.csv: cannot be read",
    "replay flows.csv --spec no.toml --topic t": "spec no.toml: cannot be read",
    "replay flows.csv --spec spec.toml --topic t --rate 0": "--rate 0: expected",
    "replay flows.csv --spec spec.toml --topic t --rate nan": "--rate nan: expected",
    "replay flows.csv --spec spec.toml --topic t --bootstrap-servers x": "'x' is not host:port",
    "replay flows.csv --spec spec.toml --topic t --label-column nope": "has no column 'nope'",
    "spec infer no-such.csv": "file no-such.csv: cannot be read",
    "spec infer empty.csv": "file empty.csv: is empty",
    "spec infer flows.csv --ignore nope": "has no column 'nope'",
    "spec infer flows.csv -o other/no/spec.toml": "file other/no/spec.toml: cannot be written",
    "spec show preset:no": "spec preset:no: no such preset",
    "config show --config no.toml": "settings no.toml: cannot be read",
    "config show": "settings: bundle: is required and missing",
    "alerts --bootstrap-servers x": "'x' is not host:port",
    "run --config settings.toml --port 70000": "flag: telemetry.port: expected a number less than",
    "run --config settings.toml --device tpu": "flag: device: expected auto, cpu, cuda or cuda:N",
    "run --config settings.toml": "bundle none: no such folder",
}


@pytest.mark.parametrize("line", WRONG)
def test_wrong_input_is_refused_in_one_sentence(monitor: Monitor, folder: Path, line: str) -> None:
    (folder / "broken.toml").write_text("name = ")
    (folder / "odd.toml").write_text('name = "x"\nfeatures = [{ name = "a", kind = "vector" }]')
    (folder / "wide.toml").write_text(SPEC.replace("]", ', { name = "port", kind = "numeric" }]'))
    (folder / "empty.csv").touch()
    (folder / "other").mkdir()
    (folder / "other" / "thesis.txt").write_text("precious")
    (folder / "settings.toml").write_text(
        'bundle = "none"\n[kafka]\nbootstrap_servers = "127.0.0.1:1"\ninput_topics = ["vectors"]'
    )
    ended = monitor(*line.split())
    assert (ended.code, ended.output) == (2, "")
    [sentence] = re.findall(r"^error: (.*)$", ended.errors, re.MULTILINE)
    assert WRONG[line] in sentence
    assert sentence.endswith(".")
    assert "Traceback" not in ended.errors
    assert (folder / "other" / "thesis.txt").read_text() == "precious"
    assert not (folder / "b").exists()


def test_the_specs_that_ship_are_listed_and_shown(monitor: Monitor) -> None:
    listed = re.findall(r"preset:\S+", monitor("spec", "list").output)
    assert {"preset:zeek-conn", "preset:suricata-flow"} <= set(listed)
    for preset in listed:
        assert "[[features]]" in monitor("spec", "show", preset).output
        assert monitor("spec", "digest", preset).output.strip() == FeatureSpec.load(preset).digest


def test_a_draft_goes_to_the_screen_or_into_a_file(monitor: Monitor, folder: Path) -> None:
    shown = monitor("spec", "infer", "flows.csv", "--label-column", "3", "--name", "mine")
    written = monitor("spec", "infer", "flows.csv", "--label-column", "Label", "-o", "new.toml")
    assert 'name = "mine"' in shown.output
    assert written.output == ""
    assert "wrote new.toml" in written.errors
    assert monitor("spec", "show", "new.toml").code == 0


def test_effective_settings_are_shown_with_where_they_come_from(
    monitor: Monitor, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "monitor.toml").write_text(
        'bundle = "b"\n[kafka]\nbootstrap_servers = "k:9092"\ninput_topics = ["vectors"]\n'
        'security_protocol = "SASL_SSL"\nsasl_mechanism = "PLAIN"\nsasl_username = "monitor"\n'
    )
    monkeypatch.setenv("MONITOR_KAFKA__SASL_PASSWORD", "s3cret")
    shown = monitor("config", "show", "--config", "monitor.toml")
    assert shown.code == 0
    assert 'bootstrap_servers = "k:9092"  # monitor.toml' in shown.output
    assert "max_vectors = 4096  # default" in shown.output
    assert "s3cret" not in shown.output
