"""The sink: whichever client writes, and however often an output may arrive.

sink = PublishingSink(settings.kafka, KafkaPythonProducer(settings.kafka), source, verify, health)
sink.connect()
sink.write(outputs, batch)
"""

from collections.abc import Callable, Sequence

import structlog
from kafka.errors import KafkaError

from monitor.batch import MicroBatch
from monitor.config import KafkaSettings
from monitor.stream.client import BrokerAwayError
from monitor.stream.contracts import Member, Output
from monitor.stream.delivery import AtLeastOnce, Delivery, Patience
from monitor.stream.producing import Producer
from monitor.stream.support import lacks_for_transactions, require_transactions
from monitor.stream.transaction import ExactlyOnce
from monitor.telemetry.health import Health

log = structlog.get_logger()


class PublishingSink:
    """See `monitor.stream.contracts.Sink`.

    Args:
        member: whose records are dealt with.
        verify: raises BrokerError if an output topic is gone or may not be written.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        producer: Producer,
        member: Member,
        verify: Callable[[], None],
        health: Health,
    ) -> None:
        self._kafka, self._producer, self._member = kafka, producer, member
        self._patience = Patience(verify, health)
        self._delivery: Delivery | None = None
        if kafka.delivery == "at_least_once":
            self._delivery = AtLeastOnce(producer, member, self._patience)

    def connect(self) -> None:
        """See how to deliver, and connect ahead of the first output.

        Raises:
            BrokerAwayError: no broker answers.
            BrokerError: it refuses, or is too old for transactions.
        """
        try:
            self._delivery = self._delivery or self._chosen()
            self._delivery.open()
        except KafkaError as error:
            raise BrokerAwayError(str(error)) from error
        self._patience.well()

    def write(self, outputs: Sequence[Output], batch: MicroBatch) -> None:
        """Publish all outputs and acknowledge the offsets; on return both have happened.

        Raises:
            StreamError: an output cannot be published.
            RewindError: the records are no longer ours; nothing is published.
            AbandonedError: `stop_trying` was called and the time is over.
        """
        assert self._delivery, "it is connected first"
        self.tend()
        self._delivery.write(outputs, batch)

    def tend(self) -> None:
        """Let the producer do what is due, to be called now and then."""
        self._producer.tend()

    def stop_trying(self, after_s: float) -> None:
        """From now on a write that is not acknowledged gives up after so many seconds."""
        self._patience.stop_trying(after_s)

    def close(self, timeout_s: float) -> None:
        """Close the producer; a write that was abandoned is dropped with it."""
        self._producer.close(timeout_s)

    def _chosen(self) -> Delivery:
        if self._kafka.delivery == "exactly_once":
            require_transactions(self._kafka)
        elif lacks := lacks_for_transactions(self._kafka):
            log.info("the broker is too old for transactions: at least once", lacks=lacks)
            return AtLeastOnce(self._producer, self._member, self._patience)
        return ExactlyOnce(self._kafka, self._producer, self._member, self._patience)
