"""Bad data for train, evaluate and spec: one clear sentence, and nothing half-written on disk."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from monitor.bundle import load_manifest
from monitor.cli import main
from monitor.detect.explain import explain
from monitor.train import read_normal
from monitor.train import train as run_training
from tests.support.detectors import HASTY, SPEC, save_small
from tests.support.labelled import ATTACKS, HEADER, normal_rows, write_csv
from tests.support.planting import observed

NORMAL = normal_rows(400)
MISSING = [",".join(["", *row.split(",")[1:]]) for row in NORMAL]
NOT_FINITE = [
    ",".join([("NaN", "inf", "-Infinity")[n % 3], *row.split(",")[1:]])
    for n, row in enumerate(NORMAL)
]
UNTRAINABLE = {
    "one row": (NORMAL[:1], "training needs at least 200 normal vectors, there are 1"),
    "no row": ([], "there is no row in it"),
    "all the same": (NORMAL[:1] * 400, "all 400 normal rows are the same vector"),
    "a column without values": (
        MISSING,
        "no row is a vector of the spec; 400 were rejected, the first: row 1: 'bytes' is missing",
    ),
    "nothing finite": (NOT_FINITE, "the first: row 1: 'bytes' is \"NaN\", not a finite number"),
    "only attacks": (
        [row.replace("normal", "flood") for row in NORMAL],
        "no row is labelled normal; the labels are 'flood'",
    ),
}


class Ended(NamedTuple):
    code: object
    output: str
    errors: str


Run = Callable[..., Ended]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """The command as the terminal starts it, in this process and an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")

    def monitor(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["monitor", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return Ended(ended.value.code or 0, *capsys.readouterr())

    return monitor


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "small-world"
    save_small(folder, HASTY)
    return folder


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """The small world's, as a file."""
    path = tmp_path / "spec.toml"
    lines = [f'[[features]]\nname = "{f.name}"\nkind = "{f.kind}"' for f in SPEC.features]
    path.write_text("\n".join(['name = "small-world"', *lines]))
    return path


def labelled(rows: list[str], path: Path = Path("flows.csv")) -> Path:
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def train(run: Run, file: Path, spec: Path, *options: object) -> Ended:
    labels = ("--label-column", "label", "--benign", "normal")
    return run("train", file, "--spec", spec, "-o", "bundles/new", *labels, *options)


@pytest.mark.parametrize(("rows", "sentence"), UNTRAINABLE.values(), ids=UNTRAINABLE)
def test_training_on_it_is_refused_in_one_sentence(
    run: Run, tmp_path: Path, spec: Path, rows: list[str], sentence: str
) -> None:
    file = labelled(rows)
    before = everything(tmp_path)
    ended = train(run, file, spec)
    assert ended.code == 2
    told = ended.errors.strip().splitlines()[-1]
    assert told.startswith("error: ")
    assert sentence in told
    assert "Traceback" not in ended.errors
    assert everything(tmp_path) == before


@pytest.mark.parametrize("rate", ["0", "1", "-0.5", "nan", "2"])
def test_a_budget_that_is_none_is_refused_before_the_file_is_read(
    run: Run, tmp_path: Path, spec: Path, rate: str
) -> None:
    ended = train(run, Path("never-read.csv"), spec, "--false-alarm-rate", rate)
    assert ended.code == 2
    assert f"--false-alarm-rate {rate}: expected a share between 0 and 1" in ended.errors
    assert [path.name for path in tmp_path.iterdir()] == ["spec.toml"]


@pytest.mark.parametrize("command", ["train", "evaluate", "spec"])
def test_a_label_column_that_is_not_there_is_named_with_those_that_are(
    run: Run, tmp_path: Path, spec: Path, bundle: Path, command: str
) -> None:
    file = labelled(NORMAL)
    before = everything(tmp_path)
    label = ("--label-column", "lable")
    ended = {
        "train": lambda: train(run, file, spec, *label),
        "evaluate": lambda: run(
            "evaluate", bundle, file, *label, "--benign", "normal", "--report", "out.html"
        ),
        "spec": lambda: run("spec", "infer", file, *label, "-o", "draft.toml"),
    }[command]()
    assert ended.code == 2
    assert "has no column 'lable'; it has 6, among them 'label'" in ended.errors
    assert everything(tmp_path) == before


def test_an_older_bundle_outlives_a_training_that_fails(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "bundles" / "new"
    save_small(folder, HASTY)
    file, before = labelled(NORMAL[:1]), everything(folder)
    (tmp_path / "spec.toml").write_text('name = "s"\n[[features]]\nname = "bytes"\nkind="numeric"')
    assert train(run, file, Path("spec.toml")).code == 2
    assert everything(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["new"]


def test_a_constant_feature_trains_and_its_change_is_explained(tmp_path: Path) -> None:
    constant = [",".join([*row.split(",")[:1], "7", *row.split(",")[2:]]) for row in NORMAL]
    file = labelled(constant, tmp_path / "flows.csv")
    fitted = run_training(file, SPEC, tmp_path / "new", HASTY, "label", ["normal"]).fitted
    detector, vectors = fitted.detector, fitted.held_back.copy()
    assert np.isfinite(detector.score(vectors).errors).all()
    vectors[:, 1] = 8
    explained = explain(detector, vectors, observed(detector, vectors), top=1)
    first = [(f.usual, f.unseen) for (f,) in explained if f.name == "packets"]
    assert set(first) == {((7.0, 7.0), True)}
    assert len(first) >= 0.95 * len(vectors)


def test_rows_that_are_no_vectors_are_counted_and_the_first_is_told(
    run: Run, tmp_path: Path, spec: Path
) -> None:
    ended = train(run, labelled([*NORMAL, *NOT_FINITE[:30]]), spec)
    assert ended.code == 0, ended.errors
    told = "30 rows are no vectors of the spec; the first, row 401: 'bytes' is \"NaN\""
    assert told in ended.errors
    assert load_manifest(tmp_path / "bundles" / "new").training.rejected == 30


def test_of_very_many_rows_a_part_by_chance_is_kept(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "flows.csv", ATTACKS)
    every = read_normal(file, SPEC, "label", ["normal"])
    part = read_normal(file, SPEC, "label", ["normal"], most_values=300 * len(SPEC))
    assert every.thinned_from is None
    assert part.thinned_from == len(every.values) == 1500
    assert 300 <= len(part.values) <= 600
    places = {row.tobytes(): n for n, row in enumerate(every.values)}
    kept = [places[row.tobytes()] for row in part.values]
    assert kept == sorted(set(kept))
    assert 0.4 < np.mean(kept) / 750 < 1.6


@pytest.mark.parametrize("rows", [["one"], [], NORMAL[:1] * 3], ids=["text", "none", "the same"])
def test_a_file_without_anything_to_learn_gives_no_spec(
    run: Run, tmp_path: Path, rows: list[str]
) -> None:
    labelled(rows)
    ended = run("spec", "infer", "flows.csv", "--label-column", "label", "-o", "draft.toml")
    assert ended.code == 2
    assert ended.errors.startswith("error: file flows.csv: ")
    assert not Path("draft.toml").exists()


def test_a_column_that_is_never_finite_is_no_feature(run: Run, tmp_path: Path) -> None:
    labelled(NOT_FINITE)
    ended = run("spec", "infer", "flows.csv", "--label-column", "label")
    assert '"bytes",  # never a finite number' in ended.output


@pytest.mark.parametrize("rows", [MISSING, NOT_FINITE, []], ids=["missing", "not finite", "none"])
def test_evaluating_nothing_is_refused_and_leaves_no_report(
    run: Run, tmp_path: Path, bundle: Path, rows: list[str]
) -> None:
    file = labelled(rows)
    before = everything(tmp_path)
    labels = ("--label-column", "label", "--benign", "normal")
    ended = run("evaluate", bundle, file, *labels, "--report", "out.html")
    assert ended.code == 2
    assert "no row is a vector of the bundle's spec" in ended.errors
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    ("rows", "benign", "unsaid"),
    [
        (NORMAL[:1], "normal", "every row has a benign label"),
        (NORMAL[:50], "benign", "no row has a benign label"),
    ],
    ids=["one row", "100 % attacks"],
)
def test_evaluating_one_class_works_and_says_what_it_cannot_tell(
    run: Run, bundle: Path, rows: list[str], benign: str, unsaid: str
) -> None:
    file = labelled(rows)
    ended = run("evaluate", bundle, file, "--label-column", "label", "--benign", benign)
    assert ended.code == 0, ended.errors
    assert f"warning: {unsaid}" in ended.errors
