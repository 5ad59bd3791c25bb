"""`monitor threshold`: what budgets cost, as a table and a plot, and moving a bundle to another."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from monitor.bundle import load, load_manifest, move_budget
from monitor.cli import main
from monitor.detect.calibration import Calibration
from monitor.detect.tradeoff import RATES, tail_curve, trade_off
from monitor.errors import BundleError
from monitor.report.terminal import Curve, braille, tail_plot
from tests.support.daemons import small_bundle
from tests.support.detectors import PROTOCOLS, SPEC, normal_vectors

Monitor = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_bundle(), tmp_path / "bundle"))


@pytest.fixture
def monitor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Monitor:
    """`monitor threshold`, or another command, in this process: exit code, output, errors."""
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: str | Path, command: str = "threshold") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["monitor", command, *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return run


def traffic_file(folder: Path) -> Path:
    file = folder / "traffic.csv"
    rows = [
        f"{a},{b},{c},{PROTOCOLS[int(d) - 1]},{bool(e)}".lower()
        for a, b, c, d, e in normal_vectors(400, seed=7)
    ]
    rows += ["9e9,1,-5.0,tcp,false"] * 100
    file.write_text("\n".join([",".join(SPEC.names), *rows]))
    return file


def small_spec() -> str:
    features = (f'{{ name = "{f.name}", kind = "{f.kind}" }}' for f in SPEC.features)
    return f'name = "small-world"\nfeatures = [{", ".join(features)}]\n'


def test_each_budget_has_its_threshold_its_alerts_and_how_sure_it_is(bundle: Path) -> None:
    detector, _ = load(bundle, "cpu")
    choices = trade_off(detector, vectors_per_second=10)
    assert [choice.false_alarm_rate for choice in choices] == list(RATES)
    for choice in choices:
        rate = choice.false_alarm_rate
        assert choice.threshold == detector.with_budget(rate).threshold
        assert choice.alerts_per_day == pytest.approx(rate * 864_000)
        assert choice.measured == (rate * detector.calibration.vectors >= 10)
        expected = rate * detector.calibration.vectors
        assert abs(choice.held_back_beyond - expected) <= max(2, 0.3 * expected)


def test_a_bundles_own_budget_is_among_them(bundle: Path) -> None:
    detector = load(bundle, "cpu")[0].with_budget(0.0042)
    assert 0.0042 in [choice.false_alarm_rate for choice in trade_off(detector)]


def test_thinned_errors_count_for_those_they_stand_for(bundle: Path) -> None:
    detector, _ = load(bundle, "cpu")
    detector.calibration = Calibration.fit(
        np.random.default_rng(0).exponential(1, 250_000).astype(np.float32)
    )
    [choice] = [c for c in trade_off(detector) if c.false_alarm_rate == 0.1]
    assert choice.held_back_beyond == pytest.approx(25_000, rel=0.01)


def test_the_curve_falls_and_that_of_the_traffic_is_above_it(bundle: Path) -> None:
    detector, _ = load(bundle, "cpu")
    attacked = np.concatenate(
        (detector.score(normal_vectors(1_000, seed=3)).errors, np.full(100, 1e3, np.float32))
    )
    curve = tail_curve(detector, attacked)
    assert (np.diff(curve.errors) >= 0).all()
    assert (np.diff(curve.rates) < 0).all()
    assert curve.traffic is not None
    assert (curve.traffic >= 100 / 1_100).all()


def test_a_terminal_plot_puts_dots_where_the_points_are() -> None:
    corners = Curve(np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 0.5]), "blue")
    lines = braille([corners], columns=3, rows=2)
    assert [line.plain for line in lines] == ["⠀⠀⠈", "⡀⠀⠀"]


def test_a_plot_keeps_to_the_width_that_it_is_given(bundle: Path) -> None:
    detector, _ = load(bundle, "cpu")
    lines = tail_plot(tail_curve(detector), detector.threshold, columns=40)
    assert {len(line) for line in lines} == {48}


def test_the_command_prints_a_table_and_a_plot(monitor: Monitor, bundle: Path) -> None:
    code, output, errors = monitor(bundle, "--vectors-per-second", "10")
    assert code == 0
    assert errors == ""
    assert "extrapolated" in output
    assert "864" in output
    assert any("\u2801" <= letter <= "\u28ff" for letter in output)


def test_it_says_how_much_of_recent_traffic_would_alert(monitor: Monitor, bundle: Path) -> None:
    file = traffic_file(bundle.parent)
    _, output, _ = monitor(bundle, "--traffic", file, "--json")
    shares = {b["false_alarm_rate"]: b["traffic_over_ratio"] for b in json.loads(output)["budgets"]}
    assert shares[0.1] > shares[0.01] >= shares[0.001]
    assert 0.2 <= shares[0.001] < 0.22


def test_the_plot_is_an_svg_file_of_its_own(monitor: Monitor, bundle: Path) -> None:
    file = bundle.parent / "plot.svg"
    assert monitor(bundle, "--plot", file)[0] == 0
    assert file.read_text().startswith("<?xml")
    assert "var(--" not in file.read_text()


@pytest.mark.parametrize(
    ("words", "rate"),
    [
        (["--set-false-alarm-rate", "0.002"], 0.002),
        (["--set-alerts-per-day", "864", "--vectors-per-second", "10"], 0.001),
    ],
)
def test_a_bundle_is_moved_to_another_budget_and_nothing_else_of_it_changes(
    monitor: Monitor, bundle: Path, words: list[str], rate: float
) -> None:
    before = load_manifest(bundle)
    (bundle / "report.html").write_text("the training report")
    code, output, errors = monitor(bundle, *words, "--json")
    detector, after = load(bundle, "cpu")
    assert code == 0
    assert after.bundle_id != before.bundle_id
    assert json.loads(output)["bundle"] == after.bundle_id
    assert f"bundle {after.bundle_id} in {bundle}: threshold" in errors
    assert detector.false_alarm_rate == pytest.approx(rate)
    assert detector.threshold == pytest.approx(after.calibration.threshold)
    same = {"bundle_id", "calibration"}
    assert after.model_dump(exclude=same) == before.model_dump(exclude=same)
    assert sorted(path.name for path in bundle.iterdir()) == [
        "manifest.json",
        "report.html",
        "weights.safetensors",
    ]


def test_moved_there_and_back_it_is_the_bundle_it_was(bundle: Path) -> None:
    before = load_manifest(bundle)
    move_budget(bundle, 0.5)
    assert move_budget(bundle, before.calibration.false_alarm_rate) == before


def test_a_bundle_that_cannot_be_written_stays_what_it_was(bundle: Path) -> None:
    before = load_manifest(bundle)
    (bundle / ".manifest.json").mkdir()
    with pytest.raises(BundleError, match="cannot be written"):
        move_budget(bundle, 0.5)
    assert load_manifest(bundle) == before


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--set-false-alarm-rate", "0"], "--set-false-alarm-rate 0: expected a share between"),
        (["--set-false-alarm-rate", "1"], "--set-false-alarm-rate 1: expected a share between"),
        (["--set-false-alarm-rate", "-1"], "--set-false-alarm-rate -1: expected a share between"),
        (["--set-alerts-per-day", "20"], "--set-alerts-per-day: needs --vectors-per-second"),
        (
            ["--set-alerts-per-day", "0", "--vectors-per-second", "1"],
            "--set-alerts-per-day 0: expected a number above 0",
        ),
        (["--vectors-per-second", "nan"], "--vectors-per-second nan: expected a number of vectors"),
        (
            ["--set-false-alarm-rate", "0.1", "--set-alerts-per-day", "20"],
            "two words for one budget: keep one of them.",
        ),
        (["--set-false-alarm-rate", "0.1", "--plot", "/nowhere/x.svg"], "no folder /nowhere"),
        (["--set-false-alarm-rate", "0.1", "--traffic", "/nowhere.csv"], "cannot be read"),
    ],
)
def test_what_is_no_budget_is_refused_in_one_sentence_and_moves_nothing(
    monitor: Monitor, bundle: Path, words: list[str], sentence: str
) -> None:
    before = load_manifest(bundle)
    code, output, errors = monitor(bundle, *words)
    assert (code, output) == (2, "")
    assert sentence in errors
    assert errors.count("\n") == 1
    assert load_manifest(bundle) == before


def test_a_budget_beyond_the_calibration_is_warned_about(monitor: Monitor, bundle: Path) -> None:
    _, _, errors = monitor(bundle, "--set-false-alarm-rate", "1e-5", "--json")
    assert "warning: a false-alarm rate of 1e-05 takes about 1,000,000 held-back" in errors


def test_training_warns_as_well(monitor: Monitor, tmp_path: Path) -> None:
    spec = tmp_path / "spec.toml"
    spec.write_text(small_spec())
    words = ["--spec", spec, "--output", tmp_path / "new", "--network", "pca"]
    words += ["--false-alarm-rate", "0.0001"]
    code, _, errors = monitor(traffic_file(tmp_path), *words, command="train")
    assert code == 0
    assert "warning: a false-alarm rate of 0.0001 takes about 100,000 held-back" in errors
    assert "give more data, or a larger --false-alarm-rate." in errors
