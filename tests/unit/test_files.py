"""Data files become vectors: formats, columns, cells, and what is refused."""

import gzip
import lzma
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

import monitor
from monitor.batch import Reject
from monitor.errors import DataError
from monitor.features import Feature, FeatureSpec
from monitor.ingest.files import VectorFile, open_vectors
from monitor.ingest.vocabulary import MAX_CATEGORIES, CategoryCodes
from monitor.reasons import Reason

DATA = Path(__file__).parent.parent / "data"
DEMO_DATA = Path(monitor.__file__).parent / "demo/data"
KDD_TEST = DEMO_DATA / "KDDTest+.txt.gz"
KDD_TRAINING = DEMO_DATA / "KDDTrain+_20Percent.txt.gz"
FLOWS = FeatureSpec(
    name="flows",
    features=(
        Feature(name="bytes", kind="numeric"),
        Feature(name="proto", kind="categorical"),
        Feature(name="inside", kind="boolean"),
    ),
)
BY_POSITION = FeatureSpec(
    name="positions",
    features=(
        Feature(name="protocol", kind="categorical", column=2),
        Feature(name="1", kind="numeric"),
    ),
)


def table(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "table"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def vectors(file: VectorFile) -> list[list[float]]:
    return [row for block in file for row in block.decoded.batch.values.tolist()]


def rejects(file: VectorFile) -> list[Reject]:
    return [reject for block in file for reject in block.decoded.rejects]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("compress", [bytes, gzip.compress, lzma.compress])
def test_text_is_read_whatever_delimits_and_compresses_it(tmp_path, delimiter, compress):
    text = " inside , proto,bytes\nT,tcp,1e3\r\n\nno , udp ,-7\n".replace(",", delimiter)
    file = open_vectors(table(tmp_path, compress(text.encode())), FLOWS)
    assert vectors(file) == [[1000, 1, 1], [-7, 2, 0]]
    assert file.vocabularies() == ((), ("tcp", "udp"), ())


def test_quoted_cells_hold_delimiters_quotes_and_line_ends(tmp_path):
    path = table(tmp_path, 'proto,note,bytes,inside\n"a,""b""\nc",x,1,1\nd,"y,z",2,0\n')
    file = open_vectors(path, FLOWS)
    assert vectors(file) == [[1, 1, 1], [2, 2, 0]]
    assert file.vocabularies()[1] == ('a,"b"\nc', "d")


def test_without_a_header_columns_are_found_by_their_position(tmp_path):
    file = open_vectors(table(tmp_path, "7,tcp,normal\n8,udp,attack\n"), BY_POSITION, None, "3")
    assert vectors(file) == [[1, 7], [2, 8]]
    assert [block.labels for block in file] == [["normal", "attack"]]


def test_a_label_column_is_named_or_counted(tmp_path):
    path = table(tmp_path, "bytes,proto,inside, Label\n1,tcp,1,BENIGN\nx,tcp,1,DoS\n2,tcp,1,\n")
    for column in ("Label", " Label", "4"):
        [block] = open_vectors(path, FLOWS, label_column=column)
        assert block.labels == ["BENIGN", ""], "one for each vector, not for each row"


def test_zeek_says_itself_what_is_unset_and_what_is_empty(tmp_path):
    spec = FeatureSpec.load("preset:zeek-conn")
    tsv, json_lines = (open_vectors(DATA / name, spec) for name in ("zeek.tsv", "zeek.jsonl"))
    assert len(vectors(tsv)) == 12
    assert vectors(tsv) == vectors(json_lines)
    assert tsv.vocabularies() == json_lines.vocabularies()


def test_iot23_sets_its_labels_apart_by_spaces():
    spec = FeatureSpec.load("preset:zeek-conn")
    file = open_vectors(DATA / "zeek-iot23.tsv", spec, label_column="label")
    assert vectors(file) == vectors(open_vectors(DATA / "zeek.tsv", spec))
    assert [block.labels for block in file] == [["Benign", "Benign", "Malicious"] * 4]


def test_the_original_cic_files_are_read_with_all_their_oddities():
    names = ("Flow Bytes/s", "Fwd Header Length", "Fwd Header Length (2)")
    features = tuple(Feature(name=name, kind="numeric") for name in names)
    file = open_vectors(
        DATA / "cic-original.csv", FeatureSpec(name="cic", features=features), None, "Label"
    )
    assert [[round(value, 1) for value in row] for row in vectors(file)] == [
        [1250.4, 664, 664],
        [2431372.5, 64, 64],
        [2410.9, 232, 232],
    ]
    assert [block.labels for block in file] == [["BENIGN", "BENIGN", "Web Attack \ufffd XSS"]]
    assert [(r.row, r.reason, r.error) for r in rejects(file)] == [
        (2, Reason.NOT_FINITE, "'Flow Bytes/s' is \"Infinity\", not a finite number"),
        (3, Reason.NOT_FINITE, "'Flow Bytes/s' is \"NaN\", not a finite number"),
    ]


def test_parquet_gives_types_nested_fields_and_nulls(tmp_path):
    spec = FeatureSpec(
        name="nested",
        features=(
            Feature(name="flow.bytes", kind="numeric", default=0.0),
            Feature(name="port", kind="categorical"),
            Feature(name="inside", kind="boolean"),
        ),
    )
    columns = {
        "flow": [{"bytes": 5, "list": [1]}, {"bytes": None, "list": []}],
        "port": pa.array([80.0, 443.0]),
        "inside": [True, False],
        "raw": pa.array([b"\xff", None], pa.binary()),
        "kind": pa.array(["a", "b"]).dictionary_encode(),
    }
    pa.parquet.write_table(pa.table(columns), tmp_path / "flows")
    file = open_vectors(tmp_path / "flows", spec, label_column="kind")
    assert vectors(file) == [[5, 1, 1], [0, 2, 0]]
    assert file.vocabularies()[1] == ("80", "443")
    assert [block.labels for block in file] == [["a", "b"]]


def test_json_lines_are_read_as_the_stream_reads_them(tmp_path):
    lines = (
        b'{"bytes": 1, "proto": 6, "inside": true, "meta": {"label": "ok"}}\n\n'
        b'[2, "tcp", 0]\r\n'
        b'{"bytes": NaN, "proto": "tcp", "inside": false}\n'
        b"\xff\n"
    )
    file = open_vectors(table(tmp_path, lines), FLOWS, label_column="meta.label")
    assert vectors(file) == [[1, 1, 1], [2, 2, 0]]
    assert file.vocabularies()[1] == ("6", "tcp")
    assert [block.labels for block in file] == [["ok", ""]]
    assert [(r.row, r.reason) for r in rejects(file)] == [
        (2, Reason.NOT_FINITE),
        (3, Reason.NOT_UTF8),
    ]


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("", Reason.MISSING_FEATURE),
        ("-", Reason.WRONG_TYPE),
        ("12 kB", Reason.WRONG_TYPE),
        ("nan", Reason.NOT_FINITE),
        ("-Infinity", Reason.NOT_FINITE),
        ("1e400", Reason.NOT_FINITE),
        ("1e308", Reason.OUT_OF_RANGE),
    ],
)
def test_a_cell_that_is_no_number_is_refused_with_its_column_and_value(tmp_path, cell, reason):
    path = table(tmp_path, f"bytes,proto,inside\n1,tcp,1\n{cell},tcp,1\n2,tcp,1\n")
    file = open_vectors(path, FLOWS)
    assert vectors(file) == [[1, 1, 1], [2, 1, 1]]
    [reject] = rejects(file)
    assert (reject.row, reject.reason) == (1, reason)
    assert "'bytes'" in reject.error
    assert cell in reject.error


def test_rows_of_another_width_are_refused_and_their_neighbours_kept(tmp_path):
    path = table(
        tmp_path, "bytes,proto,inside\n1,tcp,1\n2,tcp\n\n3,tcp,1,9\n4,udp,maybe\n5,udp,F\n"
    )
    file = open_vectors(path, FLOWS)
    assert [block.decoded.batch.rows.tolist() for block in file] == [[0, 4]]
    assert [(r.row, r.reason) for r in rejects(file)] == [
        (1, Reason.WRONG_LENGTH),
        (2, Reason.WRONG_LENGTH),
        (3, Reason.WRONG_TYPE),
    ]


def test_a_default_stands_for_missing_cells_and_for_a_column_that_is_not_there(tmp_path):
    features = (
        Feature(name="bytes", kind="numeric", default=-1.0),
        Feature(name="service", kind="categorical", default="none"),
        Feature(name="inside", kind="boolean", default=True),
    )
    path = table(tmp_path, "bytes,service\n,dns\n3,\n")
    file = open_vectors(path, FeatureSpec(name="defaults", features=features))
    assert vectors(file) == [[-1, 1, 1], [3, 2, 1]]
    assert file.vocabularies()[1] == ("dns", "none")


def test_rows_that_the_spec_does_not_select_are_counted_and_passed_over(tmp_path):
    spec = FLOWS.model_copy(update={"select": {"event": "flow"}})
    path = table(tmp_path, "event,bytes,proto,inside\nflow,1,tcp,1\ndns,,,\n,2,tcp,1\n")
    [block] = open_vectors(path, spec)
    assert block.decoded.not_selected == 2
    assert block.decoded.batch.rows.tolist() == [0]
    assert block.decoded.rejects == []


def test_known_vocabularies_leave_other_values_unseen(tmp_path):
    path = table(tmp_path, "bytes,proto,inside\n1,udp,1\n1,sctp,1\n1,tcp,1\n")
    file = open_vectors(path, FLOWS, vocabularies=[(), ("tcp", "udp"), ()])
    assert [row[1] for row in vectors(file)] == [2, 0, 1]
    assert file.vocabularies()[1] == ("tcp", "udp")


def test_a_vocabulary_stops_growing_at_its_bound_or_when_frozen():
    codes = CategoryCodes([str(i) for i in range(MAX_CATEGORIES - 1)])
    assert codes.get("last") == MAX_CATEGORIES
    assert codes.get("one more") == 0
    assert codes.get("0") == 1
    few = CategoryCodes()
    assert few.get("a") == 1
    assert few.freeze() == ("a",)
    assert few.get("b") == 0


def test_rows_are_counted_on_through_all_blocks_of_a_large_file(tmp_path):
    content = b"".join(gzip.decompress(path.read_bytes()) for path in (KDD_TRAINING, KDD_TEST) * 2)
    spec = FeatureSpec.load("preset:nsl-kdd")
    blocks = list(open_vectors(table(tmp_path, content), spec, label_column="42"))
    assert len(blocks) > 1
    rows = np.concatenate([block.decoded.batch.rows for block in blocks])
    assert rows.tolist() == list(range(2 * (25_192 + 22_544)))
    assert sum((block.labels or []).count("normal") for block in blocks) == 2 * (13_449 + 9_711)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"\x7fELF\x02\x00\x00", "is binary"),
        (b"PK\x03\x04zip", "is a zip archive"),
        (b"PAR1 and no more", "cannot be read"),
        (gzip.compress(b"bytes,proto,inside\n" * 99, mtime=0)[:-9], "compressed data is damaged"),
        (b'{"bytes":\n1}\n', "not one document a line"),
        (b"#separator \\x09\n1\t2\n", "without a #fields line"),
        (b"byte,proto,inside\n1,tcp,1\n", "has no column 'bytes', which the spec 'flows' needs"),
        (b"bytes,proto,inside\n1,tcp,1\n", "has no column 'Lable'"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_sentence(tmp_path, content, said):
    with pytest.raises(DataError) as refusal:
        list(open_vectors(table(tmp_path, content), FLOWS, label_column="Lable"))
    assert said in str(refusal.value)
    assert str(tmp_path / "table") in str(refusal.value)


def test_a_missing_column_is_named_with_those_that_are_most_alike(tmp_path):
    path = table(tmp_path, "bytes,proto,inside,label\n1,tcp,1,ok\n")
    with pytest.raises(DataError, match="has no column 'Label'; it has 4, among them 'label', "):
        open_vectors(path, FLOWS, label_column="Label")
    headless = table(tmp_path, "1,tcp\n")
    with pytest.raises(DataError, match="no column '3'; it has no header line and 2 columns"):
        open_vectors(headless, BY_POSITION, label_column="3")


@pytest.mark.parametrize("content", ["bytes,proto,inside\n1,tcp,1\n", '{"bytes": 1}'])
def test_a_label_that_is_also_a_feature_is_refused(tmp_path, content):
    with pytest.raises(DataError, match="would give the answer away"):
        open_vectors(table(tmp_path, content), FLOWS, label_column="proto")


def test_folders_and_files_that_are_not_there_are_refused(tmp_path):
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(DataError, match="cannot be read"):
            open_vectors(path, FLOWS)
