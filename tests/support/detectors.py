"""A small world of traffic to train on: five features that depend on each other."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from monitor.batch import Matrix
from monitor.bundle import save
from monitor.contracts.manifest import Manifest, TrainingFacts
from monitor.detect.fit import FitOptions, Fitted, fit
from monitor.features import FeatureSpec

PROTOCOLS = ("tcp", "udp", "icmp")
SPEC = FeatureSpec.parse(
    {
        "name": "small-world",
        "identity": {
            "record_id": "uid",
            "event_time": "ts",
            "source_address": "src",
            "source_port": "src_port",
            "destination_address": "dst",
            "destination_port": "dst_port",
            "protocol": "protocol",
        },
        "features": [
            {"name": "bytes", "kind": "numeric"},
            {"name": "packets", "kind": "numeric"},
            {"name": "rate", "kind": "numeric", "transform": "linear"},
            {"name": "protocol", "kind": "categorical"},
            {"name": "encrypted", "kind": "boolean"},
        ],
    },
    "small-world",
)
VOCABULARIES = ((), (), (), PROTOCOLS, ())
QUICK = FitOptions(seed=4, min_steps=2_000, max_steps=2_000, false_alarm_rate=0.01)
HASTY = replace(QUICK, min_steps=50, max_steps=50)
"""For tests that do not look at how good the detector is."""
TRAINING = TrainingFacts(
    source="small-world.csv",
    trained_at="2026-01-01T00:00:00+00:00",
    assumption="made normal",
    vectors=1500,
    vectors_held_back=500,
    rejected=0,
    seed=3,
    epochs=4,
    best_epoch=4,
    seconds=0.5,
)


def normal_vectors(count: int, seed: int = 0) -> Matrix:
    """(count, 5) vectors: bytes follow packets, the protocol decides rate and encryption."""
    random = np.random.default_rng(seed)
    packets = np.ceil(random.lognormal(2, 1, count))
    protocol = random.choice([1, 2, 3], count, p=[0.6, 0.35, 0.05])
    return np.column_stack(
        (
            packets * random.normal(500, 20, count),
            packets,
            np.where(protocol == 1, 0.8, 0.2) + random.normal(0, 0.02, count),
            protocol,
            protocol == 1,
        )
    ).astype(np.float32)


def fit_small(options: FitOptions = QUICK, count: int = 2000) -> Fitted:
    """Train on the small world, within a second."""
    return fit(SPEC, normal_vectors(count), VOCABULARIES, options)


def save_small(folder: Path, options: FitOptions = QUICK) -> Manifest:
    """Train on the small world and save the bundle."""
    return save(fit_small(options).detector, TRAINING, folder)
