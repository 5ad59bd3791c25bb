"""The monitor's job as one writes it in Bytewax: consume JSON, score, produce alerts.

The same bundle scores, a batch of the framework's source at a time; the framework's own connectors
(librdkafka) talk to Kafka. Nothing is explained, grouped or committed, and no bad record survives.
"""

from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import orjson

from monitor.bench.parsers import handwritten
from monitor.bundle import load

BATCH = 1_000
"""Records that its source hands on at a time: the framework's default."""


def through_bytewax(bootstrap_servers: str, topic: str, alert_topic: str, bundle: Path) -> float:
    """Everything that the topic holds, once; vectors a second."""
    import bytewax.operators as op
    from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
    from bytewax.dataflow import Dataflow
    from bytewax.testing import run_main

    detector, _ = load(bundle, "cpu")
    parse = handwritten(detector.spec, detector.vocabularies)
    vectors = 0

    def alerts(messages: list[Any]) -> Iterator[Any]:
        nonlocal vectors
        vectors += len(messages)
        scores = detector.score(parse([message.value for message in messages]))
        for row in scores.anomalous.tolist():
            message, error = messages[row], float(scores.errors[row])
            alert = {"partition": message.partition, "offset": message.offset, "error": error}
            yield KafkaSinkMessage(None, orjson.dumps(alert | {"threshold": scores.threshold}))

    brokers, flow = [bootstrap_servers], Dataflow("anomalies")
    records = op.input("vectors", flow, KafkaSource(brokers, [topic], False, batch_size=BATCH))
    op.output(
        "alerts", op.flat_map_batch("score", records, alerts), KafkaSink(brokers, alert_topic)
    )
    started = monotonic()
    run_main(flow)
    return vectors / (monotonic() - started)
