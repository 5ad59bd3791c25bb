"""Latent vectors on disk are the detector's own, in every format."""

import re
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from monitor.bundle import load
from monitor.cli import app
from monitor.detect.detector import Detector
from monitor.embed import Embedded, embed
from monitor.errors import DataError
from monitor.ingest.files import open_vectors
from tests.support.detectors import HASTY, save_small
from tests.support.labelled import write_csv

BAD = ["NaN,1,1,tcp,True,normal"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "small-world"
    save_small(folder, HASTY)
    return folder


@pytest.fixture(scope="module")
def detector(bundle: Path) -> Detector:
    return load(bundle, "cpu")[0]


def read(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, errors and latent vectors of a file that was written."""
    if path.suffix == ".npy":
        records = np.load(path, allow_pickle=False)
        return records["row"], records["error"], records["latent"]
    reader = pyarrow.csv.read_csv if path.suffix == ".csv" else pyarrow.parquet.read_table
    row, error, *latent = reader(path).columns
    return row.to_numpy(), error.to_numpy(), np.column_stack([c.to_numpy() for c in latent])


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".npy"])
def test_every_vector_has_its_row_its_error_and_its_latent_numbers(
    detector: Detector, tmp_path: Path, suffix: str
) -> None:
    file = write_csv(tmp_path / "flows.csv", BAD, normal=300)
    output = tmp_path / f"latent{suffix}"
    width = detector.embed(np.empty((0, 5), np.float32)).shape[1]
    assert embed(detector, file, output) == Embedded(300, width, rejected=1)
    [block] = open_vectors(file, detector.spec, detector.vocabularies)
    rows, errors, latent = read(output)
    np.testing.assert_array_equal(rows, block.decoded.batch.rows)
    values = block.decoded.batch.values
    np.testing.assert_allclose(errors, detector.score(values).errors, rtol=1e-6)
    np.testing.assert_allclose(latent, detector.embed(values), rtol=1e-6)


def test_a_file_of_many_blocks_is_written_whole(detector: Detector, tmp_path: Path) -> None:
    file, counts = write_csv(tmp_path / "flows.csv", normal=90_000), []
    embed(detector, file, tmp_path / "latent.npy", counts.append)
    assert len(counts) > 1
    np.testing.assert_array_equal(read(tmp_path / "latent.npy")[0], np.arange(90_002))


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".npy"])
def test_nothing_is_left_behind_where_no_row_is_a_vector(
    detector: Detector, tmp_path: Path, suffix: str
) -> None:
    file = write_csv(tmp_path / "flows.csv", BAD, normal=0)
    with pytest.raises(DataError, match="no row is a vector"):
        embed(detector, file, tmp_path / f"latent{suffix}")
    assert [path.name for path in tmp_path.iterdir()] == ["flows.csv"]


def test_an_output_of_no_known_format_or_place_is_refused(
    detector: Detector, tmp_path: Path
) -> None:
    file = write_csv(tmp_path / "flows.csv", normal=10)
    with pytest.raises(DataError, match=r"ends in \.parquet, \.csv, \.npy\."):
        embed(detector, file, tmp_path / "latent.xlsx")
    with pytest.raises(DataError, match=r"latent\.npy: cannot be written \(No such"):
        embed(detector, file, tmp_path / "no" / "latent.npy")


def test_the_command_says_what_it_wrote(bundle: Path, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "flows.csv", BAD, normal=20)
    output = tmp_path / "latent.csv"
    done = CliRunner().invoke(app, ["embed", str(bundle), str(file), "-o", str(output)])
    assert done.exit_code == 0
    assert re.search(r"row, error and \d+ latent numbers of 20 vectors", done.stderr)
    assert "(dense); 1 rows are no vectors of the spec" in done.stderr
