"""Training: which rows count, what the bundle says of them, and what the report shows."""

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.bundle import load_manifest
from monitor.detect.fit import FitOptions
from monitor.errors import BundleError, DataError
from monitor.features import FeatureSpec
from monitor.report.training import write_training_report
from monitor.train import ALL_NORMAL, Trained, TrainingData, read_normal, train
from tests.support.detectors import SPEC
from tests.support.labelled import ATTACKS, HEADER, normal_rows, write_csv
from tests.support.pages import read_page

QUICK = FitOptions(seed=5, min_steps=200, max_steps=200, false_alarm_rate=0.01)
BY_NAME, BENIGN = "label", ["normal"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("trained")
    file = write_csv(folder / "flows.csv")
    return train(file, SPEC, folder / "bundle", QUICK, BY_NAME, BENIGN)


ATTACK = st.tuples(
    st.floats(allow_nan=False, width=32),
    st.integers(0, 2**31),
    st.floats(-1e6, 1e6),
    st.sampled_from(["tcp", "icmp", "gre", "a protocol"]),
    st.booleans(),
    st.sampled_from(["flood", "scan", "Normal", "normal ish", ""]),
)


@settings(max_examples=20, deadline=None)
@given(st.lists(ATTACK, max_size=40))
def test_only_benign_rows_are_read_whatever_the_others_hold(
    tmp_path_factory: pytest.TempPathFactory, attacks: list[tuple]
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    clean = write_csv(folder / "clean.csv", [], normal=60)
    poisoned = write_csv(
        folder / "poisoned.csv", [",".join(map(str, attack)) for attack in attacks], normal=60
    )
    expected = read_normal(clean, SPEC, BY_NAME, BENIGN)
    found = read_normal(poisoned, SPEC, BY_NAME, BENIGN)
    numeric = SPEC.columns_of("numeric", "boolean")
    assert (found.values[:, numeric] == expected.values[:, numeric]).all()
    assert words(found) == words(expected)


def words(data: TrainingData) -> list[str]:
    """Of the protocol: codes depend on what else is in the file."""
    [column] = SPEC.columns_of("categorical")
    return [data.vocabularies[column][int(code) - 1] for code in data.values[:, column]]


def test_attacks_in_the_file_do_not_change_the_weights(trained: Trained, tmp_path: Path) -> None:
    random = Random(1)
    wild = [
        f"{random.uniform(-1e30, 1e30)},{10**n},0,p{n},{n % 2 == 0},attack {n}" for n in range(35)
    ]
    for name, attacks in {"none": [], "wild": wild, "other": [*reversed(ATTACKS)] * 50}.items():
        file = write_csv(tmp_path / f"{name}.csv", attacks)
        again = train(file, SPEC, tmp_path / name, QUICK, BY_NAME, BENIGN).manifest
        assert again.weights_sha256 == trained.manifest.weights_sha256, name
        assert again.vocabularies == trained.manifest.vocabularies, name
        assert again.training.vectors + again.training.vectors_held_back == 1500


def test_categories_of_attacks_do_not_decide_the_order_of_equally_frequent_ones(
    tmp_path: Path,
) -> None:
    rare = ["ipip", "esp", "ah"]
    benign = normal_rows(1000)
    tcp = [n for n, row in enumerate(benign) if ",tcp," in row][:300]
    for turn, n in enumerate(tcp):
        benign[n] = benign[n].replace("tcp", rare[turn % 3])
    weights = set()
    for order in (rare, rare[::-1]):
        attacks = [f"1,1,1,{protocol},True,attack" for protocol in order]
        file = tmp_path / "flows.csv"
        file.write_text("\n".join([HEADER, *attacks, *benign]))
        again = train(file, SPEC, tmp_path / "b", QUICK, BY_NAME, BENIGN)
        weights.add(again.manifest.weights_sha256)
    assert len(weights) == 1


def test_several_labels_can_be_benign(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "flows.csv")
    data = read_normal(file, SPEC, BY_NAME, ["normal", " scan "])
    assert len(data.values) == 1501
    assert data.assumption == "rows labelled normal, scan in column label"


def test_a_label_column_is_the_same_by_name_and_by_position(
    trained: Trained, tmp_path: Path
) -> None:
    file = write_csv(tmp_path / "flows.csv")
    by_position = train(file, SPEC, tmp_path / "b", QUICK, "6", BENIGN)
    assert by_position.manifest.weights_sha256 == trained.manifest.weights_sha256


def test_a_file_without_a_header_gives_the_same_by_positions(
    trained: Trained, tmp_path: Path
) -> None:
    content = SPEC.model_dump(mode="json")
    for position, feature in enumerate(content["features"], start=1):
        feature["column"] = position
    spec = FeatureSpec.parse(content, "by position")
    file = write_csv(tmp_path / "flows.csv", header=False)
    headless = train(file, spec, tmp_path / "b", QUICK, "6", BENIGN)
    assert headless.manifest.weights_sha256 == trained.manifest.weights_sha256


def test_without_labels_every_row_counts_as_normal_and_the_bundle_says_so(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "flows.csv")
    told: list[TrainingData] = []
    train(file, SPEC, tmp_path / "b", QUICK, notice=told.append)
    manifest = load_manifest(tmp_path / "b")
    assert manifest.training.assumption == ALL_NORMAL
    assert manifest.training.vectors + manifest.training.vectors_held_back == 1502
    assert [len(data.values) for data in told] == [1502]


def test_the_manifest_tells_what_was_trained_on(trained: Trained) -> None:
    training = trained.manifest.training
    assert training.source == "flows.csv"
    assert training.assumption == "rows labelled normal in column label"
    assert (training.seed, training.rejected) == (5, 0)
    assert training.vectors_held_back == pytest.approx(1500 / 4, abs=1)
    assert trained.manifest.calibration.false_alarm_rate == 0.01


def test_rows_that_are_no_vectors_are_counted_and_left_out(tmp_path: Path) -> None:
    bad = ["NaN,1,1,tcp,True,normal", "many,1,1,tcp,True,normal", "1,1,1,tcp,perhaps,scan"]
    data = read_normal(write_csv(tmp_path / "flows.csv", bad), SPEC, BY_NAME, BENIGN)
    assert (len(data.values), data.rejected) == (1500, 3)


def test_training_that_fails_writes_nothing_and_leaves_an_older_bundle_alone(
    trained: Trained, tmp_path: Path
) -> None:
    few = write_csv(tmp_path / "few.csv", normal=50)
    with pytest.raises(DataError, match="at least"):
        train(few, SPEC, tmp_path / "new", QUICK, BY_NAME, BENIGN)
    assert not (tmp_path / "new").exists()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "note.txt").touch()
    with pytest.raises(BundleError, match="is no bundle"):
        train(tmp_path / "never-read.csv", SPEC, tmp_path / "notes", QUICK, BY_NAME, BENIGN)


def test_the_report_is_one_small_file_that_loads_nothing(trained: Trained, tmp_path: Path) -> None:
    write_training_report(trained, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    page = read_page(text)
    assert page.loads_nothing
    assert page.tags.count("svg") == 4
    assert len(text.encode()) < 500_000


def test_the_report_shows_the_threshold_and_every_feature(trained: Trained, tmp_path: Path) -> None:
    write_training_report(trained, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    manifest = trained.manifest
    for fact in (
        manifest.bundle_id,
        f"{manifest.calibration.threshold:.4f}",
        manifest.training.assumption,
        "1,125 vectors, 375 held back",
        *SPEC.names,
    ):
        assert fact in page, fact


def test_names_in_the_report_are_text_and_neither_markup_nor_mathematics(tmp_path: Path) -> None:
    content = SPEC.model_dump(mode="json")
    content["name"] = "<script>alert(1)</script>"
    content["features"][0] |= {"name": "$a^2$ <b>&", "field": "bytes"}
    spec = FeatureSpec.parse(content, "hostile")
    file = write_csv(tmp_path / "flows.csv")
    options = replace(QUICK, min_steps=50, max_steps=50)
    hostile = train(file, spec, tmp_path / "b", options, BY_NAME, BENIGN)
    write_training_report(hostile, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert not {"script", "b"} & set(read_page(page).tags)
    assert "$a^2$ &lt;b&gt;&amp;" in page


def test_a_report_that_cannot_be_written_is_one_sentence(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"report .*/no/report\.html: cannot be written"):
        write_training_report(trained, tmp_path / "no" / "report.html")


def test_feared_attacks_are_left_out_and_the_bundle_says_how_many(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "flows.csv", [], normal=950)
    odd = [f"{index * 7e5},{-index},90,gre,true,normal" for index in range(50)]
    with file.open("a") as rows:
        rows.write("\n".join(odd) + "\n")
    careful = replace(QUICK, contamination=0.05)
    credulous = train(file, SPEC, tmp_path / "a", QUICK, BY_NAME, BENIGN).manifest
    trimmed = train(file, SPEC, tmp_path / "b", careful, BY_NAME, BENIGN).manifest
    assert trimmed.training.left_out == 50
    assert credulous.training.left_out == 0
    assert "gre" in credulous.vocabularies["protocol"]
    assert "gre" not in trimmed.vocabularies["protocol"]
