"""Any table of any cells: each row is a vector or a reject, as the stream would have it."""

import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.errors import DataError
from monitor.features import Feature, FeatureSpec
from monitor.ingest.files import open_vectors
from monitor.ingest.infer import infer_spec
from monitor.ingest.json_codec import JsonCodec
from monitor.ingest.replay import vector_records

SPEC = FeatureSpec(
    name="any",
    select={"kind": "flow"},
    features=(
        Feature(name="bytes", kind="numeric"),
        Feature(name="rate", kind="numeric", transform="linear", default=0.5),
        Feature(name="service", kind="categorical"),
        Feature(name="state", kind="categorical", default="-"),
        Feature(name="inside", kind="boolean"),
        Feature(name="reply", kind="boolean", default=True),
    ),
)
COLUMNS = ("kind", "reply", "bytes", "comment", "rate", "service", "state", "inside")

NUMBERS = st.one_of(
    st.integers().map(str),
    st.floats(width=64).map(repr),
    st.sampled_from(["+1", "007", ".5", "5.", "-.5e3", "1E+5", "-0", "1e39", "1e-400"]),
    st.sampled_from(["1e999", "9" * 400, "nan", "-NaN", "+inf", "Infinity", "-INF"]),
    st.sampled_from(["3.4028235e38", "3.4028236e38"]),  # the largest float32, and one beyond it
    st.sampled_from(["0x1F", "1_0", "1,5", "--1", "e5", ".", "\u0661", "1 2", "1\x0b"]),
)
BOOLEANS = st.sampled_from(["T", "F", "true", "No", "yes", "0", "1", "1.0", "2", "maybe"])
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
CELLS = st.one_of(
    NUMBERS, BOOLEANS, TEXT, st.sampled_from(["", " ", "-", "(empty)", "flow", '"', "a,b\tc"])
)
GOOD_ROWS = st.tuples(
    st.just("flow"), BOOLEANS, NUMBERS, TEXT, NUMBERS, st.sampled_from("ab"), TEXT, BOOLEANS
).map(list)
ANY_ROWS = st.lists(CELLS, min_size=8, max_size=8)
TABLES = st.lists(st.one_of(GOOD_ROWS, ANY_ROWS), max_size=30)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


def write_csv(path: Path, rows: list[list[str]], delimiter: str = ",") -> None:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter).writerows([COLUMNS, *rows])
    path.write_bytes(text.getvalue().encode())


def write_gzip(path: Path, rows: list[list[str]]) -> None:
    write_csv(path, rows)
    path.write_bytes(gzip.compress(path.read_bytes(), 1))


def write_xz(path: Path, rows: list[list[str]]) -> None:
    write_csv(path, rows, ";")
    path.write_bytes(lzma.compress(path.read_bytes(), preset=0))


def write_unquoted(path: Path, rows: list[list[str]]) -> None:
    """As careless programs do: cells may break out of their row."""
    path.write_bytes("\n".join("\t".join(row) for row in [COLUMNS, *rows]).encode())


def write_zeek(path: Path, rows: list[list[str]]) -> None:
    head = ["#separator \\x09", "#unset_field\t-", "#empty_field\t(empty)", "#path\tconn"]
    body = ["\t".join(cell.replace("\t", " ") for cell in row) for row in rows]
    fields = "#fields\t" + "\t".join(COLUMNS)
    path.write_bytes("\n".join([*head, fields, *body, "#close\t2020"]).encode())


def write_parquet(path: Path, rows: list[list[str]]) -> None:
    columns = list(zip(*rows, strict=True)) or [()] * len(COLUMNS)
    arrays = [pa.array([cell or None for cell in column], pa.string()) for column in columns]
    pa.parquet.write_table(pa.table(dict(zip(COLUMNS, arrays, strict=True))), path)


WRITERS = [write_csv, write_gzip, write_xz, write_unquoted, write_zeek, write_parquet]


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__.removeprefix("write_"))
@settings(max_examples=40, deadline=None)
@given(rows=TABLES)
def test_a_file_and_the_stream_that_replays_it_give_the_same_vectors(
    folder: Path, write: Callable[[Path, list[list[str]]], None], rows: list[list[str]]
) -> None:
    path = folder / write.__name__
    write(path, rows)
    assert_file_and_stream_agree(path)


def assert_file_and_stream_agree(path: Path) -> None:
    file = open_vectors(path, SPEC)
    blocks = [block.decoded for block in file]
    records = list(vector_records(path, SPEC))
    streamed = JsonCodec(SPEC, file.vocabularies()).decode(records)

    empty = np.empty((0, len(SPEC)), np.float32)
    values = np.concatenate([empty, *(block.batch.values for block in blocks)])
    np.testing.assert_array_equal(values, streamed.batch.values)
    rows_of_vectors = [row for block in blocks for row in block.batch.rows.tolist()]
    assert rows_of_vectors == streamed.batch.rows.tolist()
    rejects = [(r.row, r.reason) for block in blocks for r in block.rejects]
    assert rejects == [(r.row, r.reason) for r in streamed.rejects]
    passed_over = sum(block.not_selected for block in blocks)
    assert passed_over == streamed.not_selected
    assert len(records) == len(values) + len(rejects) + passed_over


LINES = st.one_of(
    st.fixed_dictionaries(
        {"kind": st.sampled_from(["flow", "dns"]), "bytes": st.integers(), "service": TEXT},
        optional={"inside": st.booleans(), "state": TEXT, "rate": st.floats(), "note": TEXT},
    ).map(lambda event: json.dumps(event).encode()),
    st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"")),
)


@settings(max_examples=40, deadline=None)
@given(lines=st.lists(LINES, max_size=20))
def test_lines_of_any_bytes_are_vectors_rejects_or_passed_over(
    folder: Path, lines: list[bytes]
) -> None:
    path = folder / "lines"
    path.write_bytes(b"\n".join([b'{"kind": "dns"}', *lines]))
    assert_file_and_stream_agree(path)


@settings(max_examples=40, deadline=None)
@given(rows=TABLES)
def test_a_draft_from_any_table_is_a_spec_that_reads_it(
    folder: Path, rows: list[list[str]]
) -> None:
    path, spec_path = folder / "drafted", folder / "drafted.toml"
    write_csv(path, rows)
    try:
        draft = infer_spec(path)
    except DataError:
        return  # no rows, or no column that is fit to learn
    spec_path.write_text(draft.toml, "utf-8")
    spec = FeatureSpec.load(spec_path)
    read = sum(
        len(block.decoded.batch) + len(block.decoded.rejects) + block.decoded.not_selected
        for block in open_vectors(path, spec)
    )
    assert len(spec) == draft.features
    assert read == len(rows)
