"""Networks are compared on the same rows, and no more is claimed than the rows can show."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from monitor.cli import app
from monitor.compare.runs import compare
from monitor.compare.subject import Subject, read_subject
from monitor.compare.verdict import Comparison, Quality, Run
from monitor.detect.fit import fit
from monitor.detect.vocabularies import recoded
from monitor.errors import DataError
from monitor.report.comparison import write_comparison_report
from monitor.train import TrainingData
from tests.support.detectors import HASTY, SPEC
from tests.support.labelled import normal_rows, write_csv
from tests.support.pages import read_page

BY_NAME, BENIGN = "label", ["normal"]
ATTACKS = [f"{n}e9,1,-5,gre,false,flood" for n in range(1, 60)]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_csv(tmp_path_factory.mktemp("compared") / "flows.csv", ATTACKS)


@pytest.fixture(scope="module")
def comparison(file: Path) -> Comparison:
    subject = read_subject([file], SPEC, BY_NAME, BENIGN)
    return compare(subject, ["pca", "dense"], 2, HASTY)


def made_up(**networks: tuple[float, float]) -> Comparison:
    """Networks with this detection rate and speed."""
    curve = np.zeros((2, 2))
    runs = [
        Run(name, 0, Quality(0.9, 0.9, found, curve), 0.001, 1.0, speed, 1000)
        for name, (found, speed) in networks.items()
    ]
    subject = Subject(
        SPEC,
        TrainingData(np.empty((0, 5), np.float32), (), 0, "made up"),
        np.empty((2, 5), np.float32),
        np.array([True, False]),
        "flows.csv",
        "test.csv",
    )
    return Comparison(subject, 0.001, tuple(networks), 1, tuple(runs))


def test_the_attacks_of_the_file_and_a_quarter_of_its_normal_rows_are_kept_to_judge_by(
    file: Path,
) -> None:
    subject = read_subject([file], SPEC, BY_NAME, BENIGN)
    training, judged, attack = subject.split(seed=1)
    assert (len(training), len(judged), int(attack.sum())) == (1125, 375 + 59, 59)
    assert not {row.tobytes() for row in training} & {row.tobytes() for row in judged}
    again, other = subject.split(seed=1), subject.split(seed=2)
    np.testing.assert_array_equal(again[0], training)
    assert (other[0] != training).any()


def test_a_test_file_is_judged_whole_and_all_other_normal_rows_train(
    file: Path, tmp_path: Path
) -> None:
    test = write_csv(tmp_path / "test.csv", ATTACKS[:7], normal=20)
    training, judged, attack = read_subject([file], SPEC, BY_NAME, BENIGN, test).split(seed=0)
    assert (len(training), len(judged), int(attack.sum())) == (1500, 27, 7)


def test_several_files_are_one_whatever_the_order_in_which_they_meet_their_words(
    tmp_path: Path,
) -> None:
    rows = normal_rows(400)
    tcp, others = ([r for r in rows if (",tcp," in r) is wanted] for wanted in (True, False))
    parts = [tmp_path / "a.csv", tmp_path / "b.csv"]
    whole = tmp_path / "whole.csv"
    for path, lines in zip([*parts, whole], [others, tcp, [*others, *tcp]], strict=True):
        path.write_text("\n".join(["bytes,packets,rate,protocol,encrypted,label", *lines]))
    joined, expected = (read_subject(f, SPEC, BY_NAME, BENIGN).data for f in (parts, [whole]))
    assert joined.vocabularies == expected.vocabularies
    np.testing.assert_array_equal(joined.values, expected.values)


def test_codes_are_translated_by_word_and_what_is_not_known_becomes_unseen() -> None:
    values = np.zeros((4, len(SPEC)), np.float32)
    values[:, 3] = [0, 1, 2, 3]
    old, new = ((), (), (), ("a", "b", "c"), ()), ((), (), (), ("c", "a"), ())
    assert recoded(SPEC, values, old, new)[:, 3].tolist() == [0, 2, 0, 1]


def test_the_figures_are_those_of_a_detector_that_was_fitted_by_hand(
    file: Path, comparison: Comparison
) -> None:
    subject = comparison.subject
    training, judged, attack = subject.split(seed=1)
    options = replace(HASTY, network="pca", seed=1)
    detector = fit(SPEC, training, subject.data.vocabularies, options).detector
    judged = recoded(SPEC, judged, subject.data.vocabularies, detector.vocabularies)
    scores = detector.score(judged)
    run = next(run for run in comparison.runs if (run.network, run.seed) == ("pca", 1))
    assert run.quality is not None
    assert run.quality.auc == pytest.approx(roc_auc_score(attack, scores.errors))
    assert run.quality.detection_rate == 1.0
    assert run.false_alarm_rate == (scores.errors > scores.threshold)[~attack].mean()
    assert [(run.network, run.seed) for run in comparison.runs] == [
        ("pca", 0),
        ("pca", 1),
        ("dense", 0),
        ("dense", 1),
    ]


def test_the_fastest_of_the_networks_that_find_about_as_much_is_taken() -> None:
    comparison = made_up(dense=(0.700, 10.0), pca=(0.695, 30.0), simple=(0.5, 90.0))
    assert comparison.best() == "pca"
    first, fastest, rule = comparison.advice()
    assert first.startswith("Take pca: it finds 69.5% of the attacks")
    assert fastest == "The fastest, simple, scores 3.0 times as many and finds 50.0%."
    assert "has seen the labels" in rule
    assert made_up(dense=(0.72, 10.0), pca=(0.695, 30.0)).best() == "dense"


@pytest.mark.parametrize("attacks", [[], ATTACKS])
def test_without_labels_or_attacks_nothing_is_said_of_quality(
    tmp_path: Path, attacks: list[str]
) -> None:
    file = write_csv(tmp_path / "flows.csv", attacks)
    labels = () if attacks else (BY_NAME, BENIGN)
    comparison = compare(read_subject([file], SPEC, *labels), ["pca"], 1, HASTY)
    assert comparison.best() is None
    assert "cannot be said" in " ".join(comparison.advice())
    assert comparison.table()[0][:2] == ["network", "alarms, %"]
    assert "auc" not in comparison.figures()["runs"][0]
    write_comparison_report(comparison, tmp_path / "report.html")
    assert "cannot be said" in (tmp_path / "report.html").read_text()


def test_a_test_file_without_a_vector_is_refused(file: Path, tmp_path: Path) -> None:
    test = write_csv(tmp_path / "test.csv", ["NaN,1,1,tcp,True,normal"], normal=0)
    with pytest.raises(DataError, match="nothing to judge by"):
        read_subject([file], SPEC, BY_NAME, BENIGN, test)


def test_the_report_is_one_file_that_loads_nothing_and_has_the_advice_and_every_figure(
    comparison: Comparison, tmp_path: Path
) -> None:
    write_comparison_report(comparison, tmp_path / "report.html")
    page = read_page((tmp_path / "report.html").read_text())
    assert page.loads_nothing
    assert page.tags.count("svg") == 4
    assert next(iter(comparison.advice())) in page.text
    for row in comparison.table()[1]:
        assert all(cell in page.text for cell in row)


def test_the_command_prints_progress_a_table_and_its_advice(file: Path, tmp_path: Path) -> None:
    (tmp_path / "spec.toml").write_text(
        'name = "s"\nfeatures = [{ name = "bytes", kind = "numeric" },'
        '{ name = "packets", kind = "numeric" }, { name = "rate", kind = "numeric" }]'
    )
    line = ["compare", str(file), "--spec", str(tmp_path / "spec.toml"), "--networks", "pca,pca"]
    labels = ["--label-column", "label", "--benign", "normal"]
    done = CliRunner().invoke(app, [*line, *labels, "-o", str(tmp_path / "report.html")])
    assert done.exit_code == 0
    assert "1 of 1: pca, seed 0, trained in" in done.stderr
    assert re.search(r"^network .* AUC", done.stdout, re.MULTILINE)
    assert "Take pca: it finds" in done.stdout
    assert (tmp_path / "report.html").exists()
    facts = json.loads(CliRunner().invoke(app, [*line, *labels, "--json"]).stdout)
    assert facts["take"] == "pca"
    assert facts["runs"][0]["detection_rate"] == 1.0
