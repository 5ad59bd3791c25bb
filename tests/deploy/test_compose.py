"""The compose file is valid, pinned, and open to this host alone."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.config_sources import load_settings
from monitor.stream.topics import own_topics

COMPOSE = Path(__file__).parents[2] / "deploy/compose"
SERVICES: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"]
LASTING = {name for name, service in SERVICES.items() if "restart" in service}
DOCKERFILE = (COMPOSE / "Dockerfile").read_text()


def test_it_follows_the_compose_specification() -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    checked = subprocess.run([*check, COMPOSE / "compose.yaml"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_foreign_images_are_pinned_to_a_version() -> None:
    images = [service["image"] for service in SERVICES.values() if "build" not in service]
    images.append("python:" + re.search(r"^ARG PYTHON=(.*)$", DOCKERFILE, re.MULTILINE)[1])
    assert all(re.search(r":v?\d+\.\d+\.\d+", image) for image in images)


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_open_on_loopback_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", sorted(LASTING))
def test_lasting_services_tell_whether_they_are_well(name: str) -> None:
    in_image = "build" in SERVICES[name] and "HEALTHCHECK" in DOCKERFILE
    assert in_image or "healthcheck" in SERVICES[name]


@pytest.mark.parametrize("name", SERVICES)
def test_mounted_files_are_in_the_repository(name: str) -> None:
    volumes = [volume for volume in SERVICES[name].get("volumes", []) if isinstance(volume, str)]
    mounts = [volume.split(":")[0] for volume in volumes if volume.startswith(".")]
    assert all((COMPOSE / mount).exists() for mount in mounts)


def test_copied_files_are_let_through_to_the_image() -> None:
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    let_through = (COMPOSE / "Dockerfile.dockerignore").read_text().splitlines()
    assert {f"!{name}" for names in copied for name in names.split()} <= set(let_through)


def test_the_topics_of_the_settings_are_created() -> None:
    kafka = load_settings(COMPOSE / "monitor.toml").settings.kafka
    created = re.findall(r"--topic (\S+)", SERVICES["topics"]["command"][-1])
    assert sorted(created) == sorted(
        [*kafka.input_topics, *(topic.name for topic in own_topics(kafka))]
    )


def test_the_monitor_is_the_same_member_of_its_group_in_each_new_container() -> None:
    kafka = load_settings(COMPOSE / "monitor.toml").settings.kafka
    assert kafka.group_instance_id or SERVICES["monitor"].get("hostname")


def test_the_monitor_stops_before_its_container_is_killed() -> None:
    assert int(SERVICES["monitor"]["stop_grace_period"].removesuffix("s")) > 10
