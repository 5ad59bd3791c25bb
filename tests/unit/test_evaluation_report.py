"""The evaluation report: one file that shows the figures, the worst rows and what it cannot say."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from monitor.bundle import load
from monitor.cli import app
from monitor.errors import DataError
from monitor.evaluate import SAMPLE_KEPT, WORST_KEPT, evaluate, reread
from monitor.report.evaluation import WORST_SHOWN, Judged, write_evaluation_report
from monitor.report.evaluation_plots import interval
from tests.support.detectors import SPEC, normal_vectors, save_small
from tests.support.labelled import HEADER, normal_rows
from tests.support.pages import Page, read_page

BENIGN = frozenset(["normal"])
HOSTILE = "<script>alert(1)</script> $x^2$"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "small-world"
    save_small(folder)
    return folder


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,000 normal rows and 300 attacks: loud ones with a hostile label, and some like normal."""
    path = tmp_path_factory.mktemp("labelled") / "flows.csv"
    values = normal_vectors(300, seed=9)
    loud = [f"{b},{p * 40},{r},gopher,{e == 0},{HOSTILE}" for b, p, r, _, e in values.tolist()]
    quiet = [row.replace("normal", "stealth") for row in normal_rows(100, seed=3)]
    path.write_text("\n".join([HEADER, *loud, *normal_rows(2000, seed=7), *quiet]))
    return path


@pytest.fixture(scope="module")
def judged(bundle: Path, file: Path) -> Judged:
    detector, manifest = load(bundle, "cpu")
    return Judged(detector, manifest, file, evaluate(detector, file, "label", BENIGN))


@pytest.fixture(scope="module")
def report(judged: Judged, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reports") / "report.html"
    write_evaluation_report(judged, path)
    return path


@pytest.fixture(scope="module")
def page(report: Path) -> Page:
    return read_page(report.read_text())


def page_of(judged: Judged, folder: Path) -> Page:
    write_evaluation_report(judged, folder / "report.html")
    return read_page((folder / "report.html").read_text())


def test_the_report_is_one_file_that_loads_nothing(report: Path, page: Page) -> None:
    assert page.loads_nothing
    assert page.tags.count("svg") == 5
    assert report.stat().st_size < 2_000_000


def test_the_report_shows_the_figures_that_the_command_prints(judged: Judged, page: Page) -> None:
    text = page.text
    figures = judged.evaluation.figures()
    for name in ("auc_roc", "average_precision", "threshold"):
        assert f"{figures[name]:.4f}" in text, name
    assert judged.manifest.bundle_id in text
    assert judged.manifest.training.assumption in text
    assert "stealth (100)" in text


def test_the_report_explains_the_worst_misses_and_false_alarms(page: Page) -> None:
    misses, alarms = page.text.partition("Worst misses")[2].split("Worst false alarms")
    assert "stealthnothing: every feature is as expected" in misses
    assert "normal" in alarms
    assert "expected about" in alarms


def test_what_a_file_says_is_text_and_neither_markup_nor_mathematics(page: Page) -> None:
    assert "script" not in page.tags
    assert f"{HOSTILE} (300)" in page.text


def test_of_a_file_only_the_rows_that_the_report_needs_are_kept(judged: Judged) -> None:
    evaluation = judged.evaluation
    attack, errors = evaluation.attack, evaluation.errors
    missed = np.sort(errors[attack])[:WORST_KEPT]
    np.testing.assert_array_equal(evaluation.misses.errors, missed)
    loudest = np.sort(errors[~attack])[::-1][:WORST_KEPT]
    np.testing.assert_array_equal(evaluation.false_alarms.errors, loudest)
    kept = evaluation.sample
    assert len(kept) == SAMPLE_KEPT + 400
    np.testing.assert_array_equal(errors[kept.rows], kept.errors)
    np.testing.assert_array_equal(attack[kept.rows], evaluation.attack_label[kept.label_codes])


def test_worst_rows_are_told_in_the_words_of_the_file(judged: Judged, file: Path) -> None:
    rows = judged.evaluation.false_alarms.rows[:WORST_SHOWN].tolist()
    lines = file.read_text().splitlines()[1:]
    for row, event in reread(file, SPEC, [*rows, 0]).items():
        written = lines[row].split(",")
        assert [float(value) for value in event.observed[:3]] == [float(c) for c in written[:3]]
        assert event.observed[3] == written[3]


@pytest.mark.parametrize(
    ("benign", "unsaid"),
    [
        ({HOSTILE, "normal", "stealth"}, "every row has a benign label"),
        ({"none"}, "no row has a benign label"),
    ],
)
def test_with_one_class_the_report_says_what_it_cannot_tell(
    judged: Judged, tmp_path: Path, benign: set[str], unsaid: str
) -> None:
    one_class = evaluate(judged.detector, judged.source, "label", frozenset(benign))
    text = page_of(replace(judged, evaluation=one_class), tmp_path).text
    assert f"What this cannot tell: {unsaid}" in text


def test_the_report_warns_of_a_file_that_was_trained_on(
    judged: Judged, page: Page, tmp_path: Path
) -> None:
    warning = "rows that were trained on look better than others will"
    assert warning not in page.text
    source = tmp_path / judged.manifest.training.source
    source.write_bytes(judged.source.read_bytes())
    assert warning in page_of(replace(judged, source=source), tmp_path).text


def test_one_row_is_enough_for_a_report(judged: Judged, tmp_path: Path) -> None:
    source = tmp_path / "one.csv"
    source.write_text("\n".join([HEADER, *normal_rows(1)]))
    one = evaluate(judged.detector, source, "label", BENIGN)
    assert page_of(replace(judged, source=source, evaluation=one), tmp_path).tags.count("svg") == 4


def test_the_command_writes_the_report_beside_what_it_prints(
    bundle: Path, file: Path, tmp_path: Path
) -> None:
    report = tmp_path / "out.html"
    assert "auc_roc" in run(bundle, file, "--report", str(report)).stdout
    assert report.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("target", ["no/such/folder/out.html", "."])
def test_a_report_that_could_not_be_written_is_refused_before_the_work(
    bundle: Path, tmp_path: Path, target: str
) -> None:
    done = run(bundle, tmp_path / "never-read.csv", "--report", str(tmp_path / target))
    assert isinstance(done.exception, DataError)
    assert re.fullmatch(r"report .*: cannot be written \(.*\)\.", str(done.exception))


def test_an_older_report_stays_when_the_new_one_fails(judged: Judged, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_text("older")
    gone = replace(judged, source=tmp_path / "gone.csv")
    with pytest.raises(DataError, match=r"gone\.csv"):
        write_evaluation_report(gone, report)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert report.read_text() == "older"


def test_the_band_of_a_share_covers_it_as_often_as_it_says() -> None:
    shares = np.random.default_rng(0).binomial(500, 0.01, 4000)
    low, high = interval(shares, 500)
    assert 0.95 <= np.mean((low <= 0.01) & (high >= 0.01)) < 0.995
    assert interval(np.array([0]), 10)[0][0] == 0
    assert interval(np.array([10]), 10)[1][0] == 1


def run(bundle: Path, file: Path, *options: str) -> Result:
    command = ["evaluate", str(bundle), str(file), "--label-column", "label", "--benign", "normal"]
    return CliRunner().invoke(app, [*command, *options], env={"COLUMNS": "100"})
