"""The producers that the documentation shows write what the monitor reads."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitor.features import FeatureSpec
from monitor.ingest.codec import build_codec, format_of
from tests.support.brokers import Broker

ROOT = Path(__file__).parents[2]
SPEC = FeatureSpec.parse(
    {
        "name": "flows",
        "identity": {"source_address": "id.orig_h"},
        "features": [
            {"name": "bytes", "kind": "numeric"},
            {"name": "up", "kind": "boolean", "default": False},
        ],
    },
    "test",
)


def example(page: str) -> str:
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
    return str(code)


@pytest.mark.kafka
def test_ten_lines_send_rows_as_arrow(kafka_broker: Broker) -> None:
    code, topic = example("README.md"), kafka_broker.create_topic()
    assert len([line for line in code.splitlines() if line]) <= 10
    code = code.replace("127.0.0.1:9092", kafka_broker.bootstrap_servers)
    names: dict[str, Any] = {}
    exec(code.replace('"vectors"', repr(topic)), names)
    rows = [
        {"id.orig_h": f"10.0.0.{n}", "bytes": n / 2, "note": "x", "up": None if n % 2 else True}
        for n in range(1024)
    ]
    names["send"](rows)
    names["producer"].flush()
    names["producer"].close()
    values = [record.value for record in kafka_broker.consume_all(topic)]
    assert list(map(format_of, values)) == ["arrow"]
    batch = build_codec(SPEC, [(), ()], read_origins=True).decode(values).batch
    assert batch.values.tolist() == [[n / 2, 1 - n % 2] for n in range(1024)]
    assert batch.origins is not None
    assert len(batch.origins.names) == 1024


def test_the_documented_float32_rows_are_read() -> None:
    names: dict[str, Any] = {}
    exec(example("docs/formats.md"), names)
    matrix = np.array([[1.5, 1], [2.5, 0]])
    decoded = build_codec(SPEC, [(), ()]).decode([names["record"](matrix, SPEC.digest)])
    assert decoded.batch.values.tolist() == matrix.tolist()
