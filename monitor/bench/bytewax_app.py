"""The monitor's job as one writes it in Bytewax: consume JSON, score, produce alerts.

The same bundle scores, a batch of the framework's source at a time; the framework's own connectors
(librdkafka) talk to Kafka. Nothing is explained, grouped or committed, and no bad record survives.
"""

from pathlib import Path
from time import monotonic
from typing import Any

import orjson

from monitor.bench.parsers import handwritten
from monitor.bundle import load
from monitor.detect.detector import Scores

BATCH = 1_000
"""Records that its source hands on at a time: the framework's default."""


def through_bytewax(bootstrap_servers: str, topic: str, alert_topic: str, bundle: Path) -> float:
    """Everything that the topic holds, once; vectors a second.

    The time runs from the first batch that its source hands on to the end of the last: connecting,
    its first fetch, and the end of its producer are left out.
    """
    import bytewax.operators as op
    from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
    from bytewax.dataflow import Dataflow
    from bytewax.testing import run_main

    detector, _ = load(bundle, "cpu")
    parse = handwritten(detector.spec, detector.vocabularies)
    vectors, clock = 0, [float("inf"), 0.0]

    def alerts(messages: list[Any]) -> list[Any]:
        nonlocal vectors
        clock[0] = min(clock[0], monotonic())
        vectors += len(messages)
        scores = detector.score(parse([message.value for message in messages]))
        told = [alert(messages[row], row, scores) for row in scores.anomalous.tolist()]
        clock[1] = monotonic()
        return told

    def alert(message: Any, row: int, scores: Scores) -> Any:
        error = float(scores.errors[row])
        told = {"partition": message.partition, "offset": message.offset, "error": error}
        return KafkaSinkMessage(None, orjson.dumps(told | {"threshold": scores.threshold}))

    brokers, flow = [bootstrap_servers], Dataflow("anomalies")
    records = op.input("vectors", flow, KafkaSource(brokers, [topic], False, batch_size=BATCH))
    op.output(
        "alerts", op.flat_map_batch("score", records, alerts), KafkaSink(brokers, alert_topic)
    )
    run_main(flow)
    return vectors / (clock[1] - clock[0])
