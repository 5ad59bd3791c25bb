"""What is fuzzed: each target takes any bytes, and raises where something is not as it must be.

    TARGETS["json"]().take(b"{}")

Every input of a decoder is accounted for: it is scored vectors, was not selected, or is one reject
with a reason. A parser gives a value or one of our own sentences.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from tempfile import mkdtemp

import numpy as np
import pyarrow as pa
from msgspec import structs
from structlog.testing import capture_logs

from monitor.batch import MicroBatch, Partition
from monitor.bundle import MANIFEST, load_manifest
from monitor.config import IncidentSettings, SpikeSettings
from monitor.config_sources import load_settings, show_settings
from monitor.contracts.alert import render_alert
from monitor.contracts.dead_letter import DeadLetterHeaders, render_dead_letter
from monitor.contracts.detection import EARLIEST_EVENT_MS, plausible_time, subjects_of
from monitor.contracts.journal import JournalEntry, read_entry, render_entry
from monitor.errors import MonitorError
from monitor.features import FeatureSpec
from monitor.ingest.codec import Codec, build_codec
from monitor.ingest.identity import milliseconds
from monitor.ingest.limits import Limits
from monitor.reasons import Reason
from monitor.stream import state_layout
from monitor.stream.pipeline import Pipeline
from monitor.stream.suppress import Suppressions
from monitor.stream.triage import build_triage
from tests.fuzz.mutations import mutated
from tests.property import test_formats_property as formats
from tests.property import test_json_layout_property as layouts
from tests.support import lives
from tests.support.detectors import HASTY, SPEC, VOCABULARIES, fit_small, save_small
from tests.support.formats import arrow_stream, float32_record

NOW_MS = 1_790_000_000_000
LIMITS = Limits(max_record_bytes=100_000, max_record_vectors=1_000, max_decoded_bytes=1 << 20)
ROWS = [
    {"bytes": 4000, "packets": 8, "rate": 0.8, "protocol": "tcp", "encrypted": True},
    {"bytes": 9e9, "packets": 1, "rate": -5.0, "protocol": "gre", "encrypted": False},
]
WHO = {"uid": "C1", "ts": 1_789_999_999.5, "src": "10.0.0.5", "src_port": 4, "dst": "fe80::1"}
EVENTS = [{**row, **WHO} for row in ROWS]
NUMBERS = FeatureSpec.parse(
    {"name": "n", "features": [{"name": n, "kind": "numeric"} for n in ("bytes", "rate")]}, "n"
)


@dataclass(frozen=True, slots=True)
class Record:
    """A Kafka record that never was in Kafka."""

    value: bytes | None
    offset: int = 7
    topic: str = "vectors"
    partition: int = 3
    timestamp: int = -1
    key: bytes | None = b"\xff"
    headers: Sequence[tuple[str, bytes]] = (("h", b""),)


@dataclass(frozen=True)
class Target:
    """Something that takes bytes from outside.

    Attributes:
        take: raises whatever goes wrong.
        share: of the inputs that the quickest target is given.
        longest: bytes of an input.
    """

    seeds: Sequence[bytes]
    take: Callable[[bytes], None]
    share: float = 1.0
    longest: int = 4096

    def mutated(self, random: Random, value: bytes | None = None) -> bytes:
        """An input much like a seed, or like another value."""
        return mutated(random, self.seeds, value)[: self.longest]


def account_for(codec: Codec, value: bytes) -> None:
    """Decode one record, and look at everything that the stream would do with it."""
    before = pa.total_allocated_bytes()
    decoded = codec.decode([value])
    assert pa.total_allocated_bytes() - before <= 8 * LIMITS.max_decoded_bytes
    batch, origins = decoded.batch, decoded.batch.origins
    for reject in decoded.rejects:
        assert len(decoded.rejects) == 1
        assert not len(batch) + decoded.not_selected
        assert reject.reason in Reason
        assert reject.error
        assert 1 <= reject.vectors <= LIMITS.max_record_vectors
        record = Record(value)
        letter = render_dead_letter(
            record, reject.reason, reject.error, NOW_MS, vectors=reject.vectors
        )
        assert letter.value == value
        DeadLetterHeaders.from_headers(letter.headers)
    assert np.isfinite(batch.values).all()
    assert batch.values.shape == (len(batch), len(codec.spec))
    assert not batch.rows.any()
    for n in range(0, len(batch), 1 + len(batch) // 4):
        event = codec.identify(value, -1 if batch.within is None else int(batch.within[n]))
        assert len(event.observed) == len(codec.spec)
        subject = subjects_of(event, "vectors", 3, b"\xff")[0]
        assert 0 < len(subject.name.encode()) <= 2_000
        if origins is not None:
            assert plausible_time(milliseconds(origins.times[n]), -1, NOW_MS) >= EARLIEST_EVENT_MS


def _texts(rows: Sequence[Mapping[str, object]]) -> list[bytes]:
    nested = {"conn": {**rows[0], "id": {"orig_h": "10.0.0.1"}}, "more": [1, {"a": None}]}
    arrays = [list(row.values())[:5] for row in rows]
    return [json.dumps(each).encode() for each in (*rows, *arrays, nested)]


def _arrows() -> list[bytes]:
    plain = pa.Table.from_pylist(EVENTS * 3)
    encoded = plain
    for name in ("protocol", "src"):
        at = encoded.column_names.index(name)
        encoded = encoded.set_column(at, name, encoded[name].dictionary_encode())
    return [
        arrow_stream(plain, 2),
        arrow_stream(encoded, 4),
        arrow_stream(encoded, compression="zstd"),
        arrow_stream(plain, compression="lz4"),
        b"ARROW1\0\0" + arrow_stream(plain.select(list(ROWS[0]))),
    ]


def decoder(name: str, seeds: Sequence[bytes], spec: FeatureSpec = SPEC) -> Target:
    """A codec of the small world, or of numbers alone."""
    words = VOCABULARIES if spec is SPEC else [()] * len(spec)
    codec = build_codec(spec, words, name, LIMITS, read_origins=True)  # type: ignore[arg-type]
    return Target(seeds, partial(account_for, codec))


def together() -> Target:
    """JSON by a layout that was learnt is what it is one by one."""

    def take(value: bytes) -> None:
        known = json.dumps(layouts.SAMPLES["nested"]).encode()
        layouts.agree("selective", "nested", [known, value, known])

    return Target([json.dumps(s).encode() for s in layouts.SAMPLES.values()], take, share=0.2)


def pipeline() -> Target:
    """Decode, score, tell of everything, explain and render."""
    detector = fit_small(HASTY).detector
    detector.threshold = -1.0  # all of it is anomalous
    triage = build_triage(
        IncidentSettings(group_by="none"), SpikeSettings(), Suppressions([], NOW_MS), ["vectors"]
    )
    walk = Pipeline(
        build_codec(SPEC, VOCABULARIES, "auto", LIMITS, read_origins=True),
        detector,
        bundle_id="b" * 16,
        detector_name="dense network",
        alert_topic="alerts",
        dead_letter_topic="dead-letters",
        top_features=3,
        now_ms=lambda: NOW_MS,
        triage=triage,
    )

    def take(value: bytes) -> None:
        batch = MicroBatch([Record(value)], {Partition("vectors", 3): 8})
        decoded = walk.decode(batch)
        scored = walk.score(batch, decoded)
        assert np.isfinite(scored.errors).all()
        judged = walk.judge(scored)
        vectors = [a for a in judged.alerts if json.loads(a.value)["count"] == 1]
        assert len(vectors) >= len(scored.errors)
        assert len(judged.outputs) == len(judged.alerts) + len(decoded.rejects)
        assert all(reject.reason is not Reason.DEFECT for reject in decoded.rejects)

    return Target([*_texts(EVENTS), _arrows()[1]], take, share=0.1)


def parser(seeds: Sequence[bytes], name: str, parse: Callable[[Path], object]) -> Target:
    """Reads a file: a value, or one sentence of ours."""
    file = Path(mkdtemp(prefix="anomaly-monitor-fuzz-")) / name

    def take(value: bytes) -> None:
        file.write_bytes(value)
        try:
            parse(file)
        except MonitorError as error:
            sentence = str(error)
        else:
            sentence = "fine"
        assert 0 < len(sentence) < 100_000

    return Target(seeds, take, share=0.1)


def settings() -> Target:
    """The settings file, and how the settings are shown."""
    seeds = [
        b'bundle = "b"\ndevice = "cpu"\n[kafka]\nbootstrap_servers = "a:1"\ngroup_id = "g"\n'
        b'input_topics = ["v"]\nalert_topic = "a"\ndead_letter_topic = "d"\n'
        b"[batch]\nmax_vectors = 9\n",
        b'alerts_per_day = 5\n[[suppress]]\nreason = "r"\nentity = "10.0.0.0/8"\n\n'
        b'expires = 2030-01-01\nlabels = {sensor = "*"}\n'
        b'[incidents]\ngroup_by = "none"\n[telemetry]\nport = 0\n',
        b'[kafka]\nsecurity_protocol = "SASL_SSL"\nsasl_mechanism = "PLAIN"\nsasl_username = "u"\n'
        b'sasl_password = "p"\n[recalibration]\nenabled = true\n[spikes]\nwindow_seconds = 1e3\n',
    ]
    return parser(seeds, "monitor.toml", lambda file: show_settings(load_settings(file)))


def manifest() -> Target:
    """The manifest of a bundle."""
    folder = Path(mkdtemp(prefix="anomaly-monitor-fuzz-"))
    save_small(folder / "small", HASTY)
    seed = json.dumps(json.loads((folder / "small" / MANIFEST).read_bytes())).encode()
    return parser([seed], MANIFEST, lambda file: load_manifest(file.parent))


def spec() -> Target:
    """A feature spec."""
    seed = (
        b'name = "s"\nunwrap = ["conn"]\nselect = {kind = "flow"}\n[identity]\nrecord_id = "uid"\n'
        b'entities = {sensor = "s"}\n[[features]]\nname = "n"\nkind = "numeric"\ndefault = -1\n'
        b'[[features]]\nname = "c"\nkind = "categorical"\nfield = "a.b"\ncolumn = 2\n'
    )
    return parser([seed], "spec.toml", lambda file: FeatureSpec.load(str(file)).digest)


def state() -> Target:
    """A record of the state topic, damaged: what can be used of it is gone on with."""
    topic, home = lives.KeptTopic(), [Partition("vectors", 0)]
    first = lives.Life(topic, home)
    for n in range(40):
        first.step([lives.Seen(name) for name in "abc"], lives.START_MS + 1000 * n, 3 * n)
    kept = [record for record in topic.records if record.value]
    values = [record.value or b"" for record in kept]

    def take(value: bytes) -> None:
        topic.records = [*kept[:-1], replace(kept[-1], value=value)]
        sentence, told = "fine", []
        with capture_logs():
            try:
                first.own(home)
                told = first.step([lives.Seen("a"), lives.Seen("d")], lives.START_MS + 50_000, 200)
            except MonitorError as error:
                sentence = str(error)
        assert 0 < len(sentence) < 100_000
        for alert in (render_alert(change, NOW_MS) for change in told):
            json.loads(alert.value)

    # Found by fuzzing: damaged evidence in an otherwise sound record ended every start.
    part = state_layout.decode(values[-1])
    opened = [structs.replace(entry, evidence=b"\xc1") for entry in part.open]
    once = state_layout.encode(structs.replace(part, open=opened))
    return Target([*values[:1], *values[-2:], once], take, share=0.05, longest=8192)


def journal() -> Target:
    """An entry of the journal."""

    def take(value: bytes) -> None:
        entry = read_entry(value)
        assert entry is None or entry.first_offset >= 0

    fields = dict.fromkeys(JournalEntry.model_fields, 7)
    named = dict.fromkeys(("group", "topic", "member", "bundle_id", "version"), "name")
    seed = render_entry(**{**fields, **named})
    assert read_entry(seed)
    return Target([seed], take)


TARGETS: Mapping[str, Callable[[], Target]] = {
    "json": lambda: decoder("json", _texts(EVENTS)),
    "json, numbers alone": lambda: decoder("json", _texts(EVENTS), NUMBERS),
    "json, read together": together,
    "arrow": lambda: decoder("arrow", _arrows()),
    "float32": lambda: decoder("float32", float32_record(NUMBERS, EVENTS), NUMBERS),
    "auto": lambda: decoder("auto", [*_texts(EVENTS), *_arrows()]),
    "arrow, as json": lambda: Target(
        [b"", b"\1" * 200, bytes(range(256)) * 4],
        formats.test_rows_are_the_same_vectors_in_arrow_as_in_json.hypothesis.fuzz_one_input,
        share=0.02,
    ),
    "pipeline": pipeline,
    "settings": settings,
    "manifest": manifest,
    "state": state,
    "journal": journal,
    "spec": spec,
}
