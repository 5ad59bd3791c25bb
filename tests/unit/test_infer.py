"""`monitor spec infer` drafts specs that read their file, and says why it chose what."""

from pathlib import Path

import pytest

import monitor
from monitor.errors import DataError
from monitor.features import FeatureSpec
from monitor.ingest.files import open_vectors
from monitor.ingest.infer import Draft, infer_spec

DATA = Path(__file__).parent.parent / "data"
DEMO_DATA = Path(monitor.__file__).parent / "demo/data"
KDD = DEMO_DATA / "KDDTrain+_20Percent.txt.gz"


def spec_of(draft: Draft, tmp_path: Path) -> FeatureSpec:
    path = tmp_path / "spec.toml"
    path.write_text(draft.toml, "utf-8")
    return FeatureSpec.load(path)


def csv(tmp_path: Path, **columns: list[object]) -> Path:
    rows = [columns, *zip(*columns.values(), strict=True)]
    path = tmp_path / "table.csv"
    path.write_text("\n".join(",".join(map(str, row)) for row in rows))
    return path


def kinds(spec: FeatureSpec) -> dict[str, str | None]:
    return {f.name: f.transform if f.kind == "numeric" else f.kind for f in spec.features}


def comment(draft: Draft, start: str) -> str:
    [line] = [line for line in draft.toml.splitlines() if line.strip().startswith(start)]
    return line.partition("#")[2]


@pytest.mark.parametrize(
    ("path", "label", "vectors", "rejected"),
    [
        (KDD, "42", 25_192, 0),
        (DATA / "zeek.tsv", None, 12, 0),
        (DATA / "zeek-iot23.tsv", "label", 12, 0),
        (DATA / "zeek.jsonl", None, 12, 0),
        (DATA / "suricata.jsonl", None, 8, 0),
        (DATA / "cic-original.csv", "Label", 3, 2),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else None,
)
def test_a_draft_reads_the_file_that_it_was_drafted_from(tmp_path, path, label, vectors, rejected):
    draft = infer_spec(path, label_column=label)
    assert infer_spec(path, label_column=label) == draft
    blocks = list(open_vectors(path, spec_of(draft, tmp_path), label_column=label))
    assert sum(len(block.decoded.batch) for block in blocks) == vectors
    assert sum(len(block.decoded.rejects) for block in blocks) == rejected


def test_without_a_header_features_are_named_and_found_by_position(tmp_path):
    spec = spec_of(infer_spec(KDD, label_column="42", ignore=["43"]), tmp_path)
    assert [(f.name, f.column) for f in spec.features[:3]] == [("1", 1), ("2", 2), ("3", 3)]
    assert kinds(spec)["3"] == "categorical"
    assert kinds(spec)["5"] == "log", "bytes have a heavy tail"
    assert kinds(spec)["25"] == "linear", "a rate lies between 0 and 1"
    assert kinds(spec)["12"] == "boolean"
    assert spec.ignore == ("20", "21", "42", "43")


def test_kind_and_transform_follow_from_the_values(tmp_path):
    path = csv(
        tmp_path,
        octets=[0, 1, 1, 2, 90_000] * 8,
        share=[0.0, 0.5, 1.0, 0.25, 0.75] * 8,
        drift=[-3, -1, 0, 2, 3] * 8,
        jitter=[-5e6, 1, 0, 2, 3] * 8,
        proto=[6, 17, 6, 6, 1] * 8,
        service=["dns", "http", "dns", "", "ssh"] * 8,
        inside=["T", "F", "F", "F", "T"] * 8,
        seen=[1, 0, 0, 1, 0] * 8,
        urgent=[0] * 39 + [1],
        retry_count=[1, 0, 0, 1, 0] * 8,
    )
    draft = infer_spec(path)
    spec = spec_of(draft, tmp_path)
    assert kinds(spec) == {
        "octets": "log",
        "share": "linear",
        "drift": "linear",
        "jitter": "log",
        "proto": "categorical",
        "service": "categorical",
        "inside": "boolean",
        "seen": "boolean",
        "urgent": "linear",
        "retry_count": "linear",
    }
    assert {f.name: f.default for f in spec.features if f.default is not None} == {"service": "-"}
    assert "missing in 8 of 40 rows" in draft.toml
    assert "0 / 1 / 90000: a heavy tail" in draft.toml


def test_what_cannot_be_learnt_from_is_ignored_with_the_reason(tmp_path):
    n = range(40)
    path = csv(
        tmp_path,
        size=[i % 7 for i in n],
        number=list(n),
        version=["4"] * 40,
        nothing=[""] * 40,
        host=[f"192.0.2.{i % 30}" for i in n],
        seen=[f"2024-05-01T10:00:{i:02d}Z" for i in n],
        agent=[f"text {i}" for i in n],
        Class=["a", "b"] * 20,
        verdict=["normal", "smurf"] * 20,
        noise=[i % 3 for i in n],
    )
    draft = infer_spec(path, ignore=["noise"])
    assert kinds(spec_of(draft, tmp_path)) == {"size": "linear"}
    assert "grows from row to row" in comment(draft, '"number"')
    assert "always '4'" in comment(draft, '"version"')
    assert "empty" in comment(draft, '"nothing"')
    assert "addresses" in comment(draft, '"host"')
    assert "times" in comment(draft, '"seen"')
    assert "hardly repeats" in comment(draft, '"agent"')
    assert "label" in comment(draft, '"Class"')
    assert "label" in comment(draft, '"verdict"')
    assert "as asked" in comment(draft, '"noise"')
    assert [w for w in draft.warnings if "'Class'" in w or "'verdict'" in w] == list(draft.warnings)
    assert len(draft.warnings) == 2


@pytest.mark.parametrize("name", ["zeek.tsv", "zeek.jsonl"])
def test_identity_is_guessed_by_the_names_of_well_known_producers(tmp_path, name):
    spec = spec_of(infer_spec(DATA / name), tmp_path)
    assert spec.identity.fields == (
        *("uid", "ts", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto"),
    )
    learnt_and_shown = set(spec.paths) & set(spec.identity.fields)
    assert learnt_and_shown == {"proto"}, "what the protocol is matters, who talks does not"


def test_flows_are_picked_out_of_a_file_of_many_kinds_of_event(tmp_path):
    spec = spec_of(infer_spec(DATA / "suricata.jsonl"), tmp_path)
    assert spec.select == {"event_type": "flow"}
    assert spec.identity.event_time == "flow.start"
    assert kinds(spec)["flow.bytes_toserver"] == "linear"
    assert kinds(spec)["tcp.syn"] == "boolean", "written only where it is set"
    assert "flow.alerted" in spec.ignore


def test_a_key_that_wraps_every_event_is_found(tmp_path):
    lines = (DATA / "zeek.jsonl").read_text().splitlines()
    wrapped = tmp_path / "wrapped.jsonl"
    wrapped.write_text("\n".join(f'{{"conn":{line}}}' for line in lines))
    spec = spec_of(infer_spec(wrapped), tmp_path)
    assert spec.unwrap == ("conn",)
    assert spec.paths == spec_of(infer_spec(DATA / "zeek.jsonl"), tmp_path).paths


def test_cells_that_will_be_refused_are_counted_in_a_comment(tmp_path):
    path = csv(tmp_path, rate=[1.5, "Infinity", "NaN", "0x1F", *range(96)])
    draft = infer_spec(path)
    assert "1 cells were no numbers ('0x1F'): refused as wrong_type" in draft.toml
    assert "2 cells were NaN or infinite: refused as not_finite" in draft.toml


def test_any_name_survives_being_written_as_toml(tmp_path):
    name = 'say "hi" \\ to\x7f#ünï'
    path = tmp_path / "odd.csv"
    path.write_text('"' + name.replace('"', '""') + '"\n' + "\n".join(map(str, [5, 3, 8, 1])))
    assert spec_of(infer_spec(path, name=name), tmp_path).names == (name,)


def test_columns_that_are_not_there_and_files_without_features_are_refused(tmp_path):
    with pytest.raises(DataError, match="no column '99'; it has no header line and 43 columns"):
        infer_spec(KDD, label_column="99")
    with pytest.raises(DataError, match="no column 'Lable'; it has 9, among them 'Label'"):
        infer_spec(DATA / "cic-original.csv", ignore=["Lable"])
    with pytest.raises(DataError, match="no rows"):
        infer_spec(csv(tmp_path, a=[], b=[]))
    with pytest.raises(DataError, match="none of its 1 columns is fit"):
        infer_spec(csv(tmp_path, a=[1, 1]))
