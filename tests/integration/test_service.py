"""Setting up the service: what cannot work is refused in one sentence, before anything is read."""

import json
import re
import shutil
import socket
from pathlib import Path

import pytest
import torch
from kafka.admin import ACLOperation, ResourceType

from monitor.config import Settings
from monitor.config_sources import load_settings
from monitor.errors import BrokerError, BundleError, DeviceError, MonitorError, PortError
from monitor.stream.assembly import build_service, load_detector
from monitor.stream.checks import check_cluster
from monitor.stream.topics import own_topics
from tests.support.brokers import Broker, fresh_name
from tests.support.daemons import settings_file, small_bundle
from tests.support.kafka_server import KafkaServer
from tests.support.secured import allow, log_in

pytestmark = pytest.mark.kafka


def refusal(settings: Settings, kind: type[MonitorError]) -> str:
    with pytest.raises(kind) as caught:
        build_service(settings).run()
    assert caught.value.exit_code == 2
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


def settings_on(broker: Broker, folder: Path, topic: str | None = None, **parts: str) -> Settings:
    topic = topic or broker.create_topic()
    return load_settings(settings_file(folder, broker, topic, **parts)).settings


def test_a_topic_that_does_not_exist_is_named_and_not_created(
    kafka_broker: Broker, tmp_path: Path
) -> None:
    missing = fresh_name("missing")
    sentence = refusal(settings_on(kafka_broker, tmp_path, missing), BrokerError)
    assert f"topic '{missing}': does not exist on {kafka_broker.bootstrap_servers}" in sentence
    admin = kafka_broker.admin()
    assert missing not in admin.list_topics()
    assert f"{missing}-alerts" not in admin.list_topics()
    admin.close()


def test_a_port_in_use_is_named_before_the_broker_is_asked(tmp_path: Path) -> None:
    nowhere = Broker("none", "127.0.0.1:1")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        settings = load_settings(settings_file(tmp_path, nowhere, "vectors", port=port)).settings
        assert f"127.0.0.1:{port} cannot be listened on" in refusal(settings, PortError)


def test_a_changed_bundle_is_refused(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(small_bundle(), bundle)
    weights = bundle / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    nowhere = Broker("none", "127.0.0.1:1")
    settings = load_settings(settings_file(tmp_path, nowhere, "vectors", bundle=bundle)).settings
    assert f"bundle {bundle}: weights.safetensors is not the file" in refusal(settings, BundleError)


def test_a_bundle_of_another_spec_is_refused(tmp_path: Path) -> None:
    nowhere = Broker("none", "127.0.0.1:1")
    spec = tmp_path / "spec.toml"
    spec.write_text('name = "other"\n[[features]]\nname = "bytes"\nkind = "numeric"\n')
    file = settings_file(tmp_path, nowhere, "vectors", top=f'spec = "{spec}"')
    sentence = refusal(load_settings(file).settings, BundleError)
    assert f"was trained for the spec 'small-world', which is not {spec}" in sentence


def test_a_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    nowhere = Broker("none", "127.0.0.1:1")
    file = settings_file(tmp_path, nowhere, "vectors")
    settings = load_settings(file, {"device": "cuda"}).settings
    assert "no CUDA device is available" in refusal(settings, DeviceError)


def test_the_threshold_moves_without_training_again(tmp_path: Path) -> None:
    nowhere = Broker("none", "127.0.0.1:1")
    file = settings_file(tmp_path, nowhere, "vectors")
    own, manifest = load_detector(load_settings(file).settings)
    assert own.threshold == pytest.approx(manifest.calibration.threshold)
    strict, _ = load_detector(load_settings(file, {"false_alarm_rate": 0.0001}).settings)
    assert strict.threshold > own.threshold
    assert strict.false_alarm_rate == 0.0001


@pytest.fixture
def as_nobody(
    secured_kafka: KafkaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, str]:
    """Settings file of a user without any right, and the topic that it should read."""
    topic = log_in(secured_kafka, "admin").create_topic()
    login = 'security_protocol = "SASL_PLAINTEXT"\nsasl_mechanism = "PLAIN"\nsasl_username = "{}"'
    nobody = log_in(secured_kafka, "nobody")
    monkeypatch.setenv("MONITOR_KAFKA__SASL_PASSWORD", "nobody-secret")
    return settings_file(tmp_path, nobody, topic, kafka=login.format("nobody")), topic


def test_each_missing_right_is_named_until_all_are_granted(
    secured_kafka: KafkaServer, as_nobody: tuple[Path, str]
) -> None:
    file, topic = as_nobody
    settings = load_settings(file).settings
    kafka = settings.kafka
    user = "user 'nobody' has no right to"
    assert f"topic '{topic}': {user} READ it" in refusal(settings, BrokerError)
    allow(secured_kafka, "nobody", ResourceType.TOPIC, topic, ACLOperation.READ)
    assert f"group '{kafka.group_id}': {user} READ it" in refusal(settings, BrokerError)
    allow(secured_kafka, "nobody", ResourceType.GROUP, kafka.group_id, ACLOperation.READ)
    assert f"topic '{kafka.alert_topic}'" in refusal(settings, BrokerError)
    admin = log_in(secured_kafka, "admin")
    for own in own_topics(kafka):
        admin.create_topic(own.name)
        for right in own.rights:
            assert f"topic '{own.name}': {user} {right} it" in refusal(settings, BrokerError)
            allow(secured_kafka, "nobody", ResourceType.TOPIC, own.name, ACLOperation[right])
    sentence = refusal(settings, BrokerError)
    [transactional_id] = re.findall(r"transactional id '(\S+)'", sentence)
    assert transactional_id.startswith(f"{kafka.group_id}-")
    allow(
        secured_kafka,
        "nobody",
        ResourceType.TRANSACTIONAL_ID,
        transactional_id,
        ACLOperation.WRITE,
    )
    instance = transactional_id.removeprefix(f"{kafka.group_id}-")
    check_cluster(kafka.model_copy(update={"group_instance_id": instance}))


def test_a_wrong_password_is_refused_and_not_tried_for_ever(
    as_nobody: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONITOR_KAFKA__SASL_PASSWORD", "a guess")
    sentence = refusal(load_settings(as_nobody[0]).settings, BrokerError)
    assert "refuses the login with PLAIN" in sentence
    assert "a guess" not in sentence


def test_a_manifest_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(small_bundle(), bundle)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["format_version"] = 99
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    nowhere = Broker("none", "127.0.0.1:1")
    settings = load_settings(settings_file(tmp_path, nowhere, "vectors", bundle=bundle)).settings
    assert "has format version 99" in refusal(settings, BundleError)
