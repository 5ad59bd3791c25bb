"""What the settings and the bundle make: the detector, the pipeline around it, and the service."""

import os
from collections.abc import Callable
from functools import partial
from socket import gethostname

import numpy as np
import structlog
import torch

from monitor import bundle
from monitor.bundle import bundle_facts
from monitor.config import Settings
from monitor.contracts.manifest import Manifest
from monitor.detect.cpu_scorer import scoring_threads
from monitor.detect.detector import Detector
from monitor.errors import BundleError
from monitor.features import FeatureSpec
from monitor.ingest.codec import build_codec
from monitor.ingest.limits import Limits
from monitor.stream.checks import verify_outputs
from monitor.stream.clock import now_ms
from monitor.stream.instance import take_instance
from monitor.stream.journal import Journal
from monitor.stream.link import BrokerLink
from monitor.stream.loading import Loading
from monitor.stream.pipeline import Pipeline
from monitor.stream.reload import Reload
from monitor.stream.service import Service
from monitor.stream.state import StateStore
from monitor.stream.state_topic import StateTopic, read_committed
from monitor.stream.suppress import Suppressions
from monitor.stream.transport import build_sink, build_source
from monitor.stream.triage import build_triage
from monitor.stream.tuning import Tuning
from monitor.telemetry.health import Health
from monitor.telemetry.http import TelemetryServer
from monitor.telemetry.metrics import Metrics

log = structlog.get_logger()


def build_service(
    settings: Settings, read_settings: Callable[[], Settings] | None = None
) -> Service:
    """Load the bundle, bind the port and put everything together; nothing is consumed yet.

    Args:
        read_settings: reads them again at SIGHUP; without it only the bundle's budget can change.

    Raises:
        BundleError, DeviceError, SpecError, PortError, SettingsError: one sentence each.
    """
    detector, manifest = load_detector(settings)
    metrics, health = Metrics(), Health("bundle", "broker", "group", "state", "outputs")
    health.ok("bundle")
    metrics.ready.set_function(lambda: health.ready)
    telemetry = TelemetryServer(settings.telemetry, metrics.registry, health)
    link = BrokerLink(settings.kafka.bootstrap_servers, metrics, health)
    as_written, instance = settings, take_instance(settings.kafka)
    log.info("member of the group", group=settings.kafka.group_id, instance=instance.name)
    named = settings.kafka.model_copy(update={"group_instance_id": instance.name})
    settings = settings.model_copy(update={"kafka": named})
    source = build_source(settings.kafka, settings.batch, metrics, health, link)
    sink = build_sink(settings.kafka, source, lambda: verify_outputs(settings.kafka), health)
    pipeline = build_pipeline(settings, detector, manifest)
    tuning = Tuning(detector, metrics)
    loading = Loading(health)
    read_state = partial(read_committed, settings.kafka, look=loading.look)
    kept = StateTopic(settings.kafka, read_state)
    state = StateStore(kept, manifest, pipeline.triage, tuning, metrics)

    def take(settings: Settings, manifest: Manifest) -> None:
        metrics.bundle.info({**bundle_facts(manifest), "device": str(detector.device)})
        tuning.take(settings, manifest.calibration.false_alarm_rate)
        pipeline.use(tuning.detector, manifest.bundle_id)

    def take_again(settings: Settings, manifest: Manifest) -> None:
        pipeline.triage.suppressions = Suppressions(settings.suppress, now_ms())
        take(settings, manifest)

    take(settings, manifest)
    reload = Reload(as_written, manifest, read_settings or (lambda: as_written), take_again)
    return Service(
        settings,
        pipeline,
        tuning,
        state,
        loading,
        reload,
        source,
        sink,
        metrics,
        health,
        link,
        telemetry,
        instance,
    )


def load_detector(settings: Settings) -> tuple[Detector, Manifest]:
    """The bundle's detector on its device, with the threshold where the settings want it.

    Raises:
        BundleError, DeviceError, SpecError: one sentence each.
    """
    cores = len(os.sched_getaffinity(0)) // settings.workers
    torch.set_num_threads(1)  # the scorer has threads of its own
    detector, manifest = bundle.load(settings.bundle, settings.device, scoring_threads(cores))
    if settings.spec and FeatureSpec.load(settings.spec).digest != manifest.spec_sha256:
        raise BundleError(
            f"bundle {settings.bundle}: was trained for the spec {manifest.spec.name!r}, which is "
            f"not {settings.spec}; train again, or change the setting spec."
        )
    if settings.false_alarm_rate is not None:
        detector = detector.with_budget(settings.false_alarm_rate)
    detector.score(np.zeros((1, len(detector.spec)), np.float32))  # the first pass is a slow one
    if reason := detector.scorer.fallbacks.reason:
        log.warning("the GPU's passes are not replayed as graphs", reason=reason)
    return detector, manifest


def build_pipeline(settings: Settings, detector: Detector, manifest: Manifest) -> Pipeline:
    """The pipeline of a bundle."""
    accepted = settings.input
    codec = build_codec(
        detector.spec,
        detector.vocabularies,
        accepted.format,
        Limits(accepted.max_record_bytes, accepted.max_record_vectors, accepted.max_decoded_bytes),
        read_origins=True,
    )
    triage = build_triage(
        settings.incidents,
        settings.spikes,
        Suppressions(settings.suppress, now_ms()),
        settings.kafka.input_topics,
    )
    kafka = settings.kafka
    member = kafka.group_instance_id or f"{gethostname()}-{os.getpid()}"
    return Pipeline(
        codec,
        detector,
        bundle_id=manifest.bundle_id,
        detector_name=f"{manifest.network.name} network",
        alert_topic=settings.kafka.alert_topic,
        dead_letter_topic=settings.kafka.dead_letter_topic,
        top_features=settings.alerts.top_features,
        now_ms=now_ms,
        triage=triage,
        max_bytes=settings.batch.max_bytes,
        journal=Journal(kafka.journal_topic, kafka.group_id, member),
    )
