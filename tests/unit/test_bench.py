"""The benchmark's figures and goals, and that what it compares does the same work."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from monitor.bench import synthetic
from monitor.bench.bench import Bench, Extent
from monitor.bench.encoders import arrow_records
from monitor.bench.figures import Figure, Goal
from monitor.bench.loops import Pace
from monitor.bench.memory import growth
from monitor.bench.parsers import PARSERS, can_parse
from monitor.bench.pipeline import cheapest, fastest, over
from monitor.bench.plots import draw
from monitor.bench.report import facts, table, write
from monitor.bench.run import run
from monitor.bench.score import stacks
from monitor.detect.fit import Fitted
from monitor.detect.networks.dense import DenseAutoencoder
from monitor.errors import BrokerError, StreamError
from monitor.ingest.codec import build_codec
from monitor.ingest.json_codec import JsonCodec
from tests.support.detectors import HASTY, SPEC, VOCABULARIES, fit_small, normal_vectors

REACHED = Figure("as a share", "", [0.9, 0.8, 0.95], Goal(">=", 0.85))
MISSED = Figure("memory", "MB", 755.0, Goal("<=", 700), "620 MB of it when ready")
SKIPPED = Figure.skipped("over others", "not installed: pip install 'anomaly-monitor[bench]'")
RECORDS = [
    json.dumps({"bytes": n, "packets": 2, "rate": 0.5, "protocol": word, "encrypted": n > 1})
    for n, word in enumerate(["tcp", "udp", "never seen", "icmp"])
]


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    return fit_small(HASTY)


@pytest.mark.parametrize(
    ("relation", "value", "met"),
    [(">=", 2, True), (">=", 1.9, False), ("<=", 2, True), ("<=", 2.1, False), ("<", 2, False)],
)
def test_a_goal_says_whether_a_value_meets_it(relation: str, value: float, met: bool) -> None:
    assert Goal(relation, 2).met_by(value) is met


def test_the_median_of_several_runs_is_judged() -> None:
    assert REACHED.value == 0.9
    assert REACHED.good


def test_a_figure_without_goal_or_value_is_neither_good_nor_bad() -> None:
    assert Figure("start", "s", 2.0).good is None
    assert SKIPPED.value is None
    assert SKIPPED.good is None


def test_the_table_says_what_is_met_missed_and_skipped_and_why() -> None:
    console = Console(width=200, record=True)
    console.print(table({"pipeline": [REACHED, MISSED, SKIPPED]}))
    reached, missed, skipped = [
        line for line in console.export_text().splitlines()[1:] if line.strip()
    ]
    assert "0.8 - 0.95" in reached
    assert ">= 0.85 met" in reached
    assert "<= 700 MISSED" in missed
    assert "620 MB of it when ready" in missed
    assert "skipped: not installed: pip install 'anomaly-monitor[bench]'" in skipped


def test_the_file_names_what_was_missed(tmp_path: Path) -> None:
    made = facts({"memory": [REACHED, MISSED], "score": [SKIPPED]}, {"seconds": 1.0})
    file = write(made, tmp_path / "results", "run")
    read = json.loads(file.read_text())
    assert read["missed"] == ["memory"]
    assert read["figures"]["memory"][1]["goal"] == "<= 700"
    assert read["figures"]["score"][0]["value"] is None


def test_growth_of_memory_leaves_out_the_first_third() -> None:
    assert growth([100, 150, 200, 200, 210, 210]) == pytest.approx([5.0])
    assert growth([200.0]) == ()


def test_a_stage_that_fails_leaves_what_it_found_and_the_others(tmp_path: Path) -> None:
    def failing(bench: Bench) -> Iterator[Figure]:
        yield MISSED
        raise StreamError("the daemon ended.")

    ended = run(
        {"memory": failing, "score": lambda bench: [REACHED]}, Extent(), Console(), tmp_path
    )
    assert ended["failed"] == ["memory"]
    assert [figure["name"] for figure in ended["figures"]["memory"]] == ["memory", "memory"]
    assert ended["figures"]["memory"][1]["note"] == "failed: StreamError: the daemon ended."
    assert ended["figures"]["score"][0]["good"]


def test_what_must_be_put_right_first_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(BrokerError, match="no Kafka broker answers there"):
        run({"idle": lambda bench: [bench.topic()]}, Extent("127.0.0.1:1"), Console(), tmp_path)


def test_rates_and_growth_become_a_picture_and_nothing_becomes_none(tmp_path: Path) -> None:
    rate = Figure("scoring", "vectors/s", [1e5, 2e5])
    growth = [Figure(f"CPU of {n}", "us/vector", 3.0, at=n) for n in (10, 1000)]
    assert draw({"score": [rate], "growth": growth}, tmp_path / "run.svg")
    assert "scoring" in (tmp_path / "run.svg").read_text()
    assert not draw({"score": [SKIPPED]}, tmp_path / "none.svg")
    assert not (tmp_path / "none.svg").exists()


def test_the_loop_by_hand_reads_the_same_matrix_as_the_codec() -> None:
    records = [record.encode() for record in RECORDS]
    wide = synthetic.vectors(115, 10)
    for spec, words, values in (
        (SPEC, VOCABULARIES, records),
        (synthetic.spec(115), [()] * 115, synthetic.json_arrays(wide)),
    ):
        by_hand, ours = (make(spec, words)(values) for make in PARSERS.values())
        np.testing.assert_array_equal(by_hand, ours)


def test_a_loop_by_hand_is_left_out_where_records_are_beyond_it() -> None:
    parse = PARSERS["handwritten"](SPEC, VOCABULARIES)
    assert can_parse(parse, [RECORDS[0].encode()])
    assert not can_parse(parse, [b'{"flow": {"bytes": 1}}'])


def test_synthetic_vectors_keep_their_values_as_json() -> None:
    values = synthetic.vectors(20, 50, seed=3)
    assert (values >= 0).all()
    read = JsonCodec(synthetic.spec(20), [()] * 20).decode(synthetic.json_arrays(values))
    np.testing.assert_allclose(read.batch.values, values, rtol=1e-6, atol=1e-4)


def test_the_bare_network_reconstructs_what_the_detectors_network_does(fitted: Fitted) -> None:
    network = fitted.detector.model.network
    assert isinstance(network, DenseAutoencoder)
    z = torch.randn(7, fitted.detector.model.preprocessor.inputs)
    with torch.inference_mode():
        bare = torch.stack([stack(z) for stack in stacks(network)])
        torch.testing.assert_close(bare, network(z), rtol=1e-4, atol=1e-5)


def test_arrow_records_hold_the_vectors_they_are_made_of(fitted: Fitted) -> None:
    detector, values = fitted.detector, normal_vectors(25)
    records = arrow_records(detector, values, rows=10)
    read = build_codec(SPEC, VOCABULARIES).decode(records)
    np.testing.assert_array_equal(read.batch.values, values[:20])


def test_the_daemon_is_held_against_the_better_loop_of_each_turn() -> None:
    loops = [[Pace(10, 9.0), Pace(40, 3.0)], [Pace(20, 5.0), Pace(30, 4.0)]]
    assert fastest(loops) == [20, 40]
    assert cheapest(loops) == [5.0, 3.0]
    assert over([10, 10], fastest(loops)) == [0.5, 0.25]
