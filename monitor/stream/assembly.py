"""What the settings and the bundle make: the detector on its device, and the pipeline around it."""

import os
from socket import gethostname

import numpy as np
import structlog
import torch

from monitor import bundle
from monitor.config import Settings
from monitor.contracts.manifest import Manifest
from monitor.detect.cpu_scorer import scoring_threads
from monitor.detect.detector import Detector
from monitor.errors import BundleError
from monitor.features import FeatureSpec
from monitor.ingest.codec import build_codec
from monitor.ingest.limits import Limits
from monitor.stream.clock import now_ms
from monitor.stream.journal import Journal
from monitor.stream.pipeline import Pipeline
from monitor.stream.suppress import Suppressions
from monitor.stream.triage import build_triage

log = structlog.get_logger()


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
