"""`monitor bench` as a user runs it, on a bundle and traffic of his own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.test_run import NORMAL, event
from tests.support.detectors import HASTY, save_small

pytestmark = pytest.mark.e2e


def bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "monitor", "bench", "--output", str(folder / "results")]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=120)


def test_one_stage_prints_its_figures_as_json_and_leaves_a_file(tmp_path: Path) -> None:
    save_small(tmp_path / "bundle", HASTY)
    data = tmp_path / "flows.jsonl"
    data.write_bytes(b"".join(event(NORMAL, n) + b"\n" for n in range(20)))
    own = ("--bundle", str(tmp_path / "bundle"), "--data", str(data))
    ended = bench(tmp_path, "--stage", "decode", "--vectors", "50", "--json", *own)
    assert ended.returncode == 0, ended.stderr
    run = json.loads(ended.stdout)
    assert list(run["figures"]) == ["decode"]
    rates = {figure["name"]: figure["value"] for figure in run["figures"]["decode"]}
    assert rates["5 features, JSON: own codec"] > 0
    [file] = (tmp_path / "results").glob("*.json")
    assert json.loads(file.read_text()) == run
    assert file.with_suffix(".svg").exists()


def test_a_bundle_without_traffic_is_one_sentence(tmp_path: Path) -> None:
    ended = bench(tmp_path, "--bundle", str(tmp_path))
    assert ended.returncode == 2
    assert ended.stderr.strip().startswith("error: --bundle and --data go together")
