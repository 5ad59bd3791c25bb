"""Evaluation: its figures are scikit-learn's on the same scores, its threshold is the bundle's."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score
from typer.testing import CliRunner

from monitor.bundle import load
from monitor.cli import app
from monitor.detect.detector import Detector
from monitor.errors import DataError
from monitor.evaluate import Evaluation, evaluate
from tests.support.detectors import normal_vectors, save_small
from tests.support.labelled import HEADER, normal_rows

BENIGN = frozenset(["normal"])
ISSUE = {
    "vectors",
    "auc_roc",
    "average_precision",
    "tpr_at_fpr",
    "threshold",
    "false_alarm_rate_target",
    "false_alarm_rate_realised",
    "detection_rate",
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "small-world"
    save_small(folder)
    return folder


@pytest.fixture(scope="module")
def detector(bundle: Path) -> Detector:
    return load(bundle, "cpu")[0]


def attack_rows(count: int, label: str, strength: float) -> list[str]:
    """Rows in which bytes no longer follow packets, the more the stronger."""
    values = normal_vectors(count, seed=9)
    values[:, 0] *= np.linspace(1, strength, count)
    return [f"{b},{p},{r},udp,{e == 1},{label}" for b, p, r, _, e in values.tolist()]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,000 normal vectors, 150 of two attacks of which some look normal, a row that is none."""
    path = tmp_path_factory.mktemp("labelled") / "flows.csv"
    rows = normal_rows(1000, seed=7)
    rows[500:500] = [*attack_rows(100, "exfil", 60), *attack_rows(50, "scan", 4)]
    rows.insert(20, "NaN,1,1,tcp,True,normal")
    path.write_text("\n".join([HEADER, *rows]))
    return path


@pytest.fixture(scope="module")
def evaluation(detector: Detector, file: Path) -> Evaluation:
    return evaluate(detector, file, "label", BENIGN)


def test_ranking_figures_are_scikit_learns_on_the_detectors_own_scores(
    detector: Detector, file: Path, evaluation: Evaluation
) -> None:
    rows = [line.split(",") for line in file.read_text().splitlines()[1:] if "NaN" not in line]
    attack = np.array([row[-1] != "normal" for row in rows])
    codes = {"tcp": 1, "udp": 2, "icmp": 3}
    vectors = [[*map(float, r[:3]), codes[r[3]], r[4] == "True"] for r in rows]
    scores = detector.score(np.array(vectors, np.float32)).errors
    figures = evaluation.figures()
    assert figures["vectors"] == len(rows)
    assert figures["attacks"] == 150
    assert figures["auc_roc"] == pytest.approx(roc_auc_score(attack, scores), abs=1e-6)
    assert figures["average_precision"] == pytest.approx(
        average_precision_score(attack, scores), abs=1e-6
    )
    assert 0.5 < figures["auc_roc"] < 1


@pytest.mark.parametrize("rate", [0.01, 0.001])
def test_true_positives_at_a_false_positive_rate_are_the_best_of_all_thresholds(
    evaluation: Evaluation, rate: float
) -> None:
    normal = evaluation.errors[~evaluation.attack]
    attacks = evaluation.errors[evaluation.attack]
    best = max(
        (attacks >= threshold).mean()
        for threshold in [*evaluation.errors, np.inf]
        if (normal >= threshold).mean() <= rate
    )
    assert evaluation.figures()["tpr_at_fpr"][str(rate)] == pytest.approx(best)


def test_rates_are_counted_at_the_threshold_of_the_bundle(
    detector: Detector, evaluation: Evaluation
) -> None:
    figures = evaluation.figures()
    over = evaluation.errors > detector.threshold
    assert figures["threshold"] == detector.threshold
    assert figures["false_alarm_rate_target"] == detector.false_alarm_rate == 0.01
    assert figures["false_alarm_rate_realised"] == over[~evaluation.attack].mean()
    assert figures["detection_rate"] == over[evaluation.attack].mean()
    assert figures["false_alarm_rate_realised"] < 0.03


def test_every_label_has_its_own_share(evaluation: Evaluation) -> None:
    by_label = evaluation.figures()["by_label"]
    assert {label: row["vectors"] for label, row in by_label.items()} == {
        "normal": 1000,
        "exfil": 100,
        "scan": 50,
    }
    assert {label for label, row in by_label.items() if row["attack"]} == {"exfil", "scan"}
    assert by_label["exfil"]["detection_rate"] > by_label["scan"]["detection_rate"]


def test_rows_that_are_no_vectors_are_counted(evaluation: Evaluation) -> None:
    assert evaluation.figures()["rejected"] == 1


def test_labels_are_the_same_by_name_and_by_position(
    detector: Detector, file: Path, evaluation: Evaluation
) -> None:
    assert evaluate(detector, file, "6", BENIGN).figures() == evaluation.figures()


@pytest.mark.parametrize(
    ("benign", "missing"),
    [("normal", "detection_rate"), ("none of them", "false_alarm_rate_realised")],
)
def test_with_one_class_only_what_needs_both_is_null(
    bundle: Path, tmp_path: Path, benign: str, missing: str
) -> None:
    path = tmp_path / "normal.csv"
    path.write_text("\n".join([HEADER, *normal_rows(100)]))
    figures = run(bundle, path, benign, "--json")
    for name in ("auc_roc", "average_precision", missing):
        assert figures[name] is None
    assert figures["tpr_at_fpr"] == {"0.01": None, "0.001": None}
    assert run(bundle, path, benign)


def test_the_command_prints_one_json_object_with_all_figures(
    bundle: Path, file: Path, evaluation: Evaluation
) -> None:
    printed = run(bundle, file, "normal", "--json")
    assert printed.keys() >= ISSUE
    assert printed["tpr_at_fpr"].keys() == {"0.01", "0.001"}
    figures = json.loads(json.dumps(evaluation.figures()))
    assert {key: printed[key] for key in figures} == figures


def test_the_table_has_every_label_and_figure(bundle: Path, file: Path) -> None:
    table = run(bundle, file, "normal")
    for word in ("auc_roc", "threshold", "tpr at fpr 0.001", "exfil", "scan", "normal (benign)"):
        assert word in table


def run(bundle: Path, file: Path, benign: str, *options: str) -> Any:
    command = ["evaluate", str(bundle), str(file), "--label-column", "label", "--benign", benign]
    done = CliRunner().invoke(app, [*command, *options], env={"COLUMNS": "100"})
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout) if "--json" in options else done.stdout


def test_evaluating_trains_and_moves_nothing(bundle: Path, file: Path) -> None:
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    run(bundle, file, "normal", "--json")
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before


def test_a_file_of_another_kind_is_refused(detector: Detector, tmp_path: Path) -> None:
    path = tmp_path / "flows.csv"
    path.write_text("size,label\n1,normal\n")
    with pytest.raises(DataError, match="has no column 'bytes'"):
        evaluate(detector, path, "label", BENIGN)
    path.write_text(f"{HEADER}\nmany,1,1,tcp,True,normal\n")
    with pytest.raises(
        DataError, match=r"no row is a vector .*; 1 were rejected, the first: row 1: 'bytes'"
    ):
        evaluate(detector, path, "label", BENIGN)


def test_a_column_of_ids_taken_for_labels_is_wondered_at(bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "ids.csv"
    rows = [row.replace("normal", f"id-{n}") for n, row in enumerate(normal_rows(300))]
    path.write_text("\n".join([HEADER, *rows]))
    assert "and 200 more labels: is that the column of the labels?" in run(bundle, path, "normal")
