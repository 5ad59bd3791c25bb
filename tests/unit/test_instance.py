"""The name of a static member: each process of a host has one of its own."""

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import structlog

from monitor.config import KafkaSettings
from monitor.errors import SettingsError
from monitor.stream.instance import Instance, take_instance


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def kafka(name: str | None = None, group: str = "monitor") -> KafkaSettings:
    return KafkaSettings(
        bootstrap_servers="broker:9092",
        input_topics=("vectors",),
        group_id=group,
        group_instance_id=name,
    )


def test_each_process_has_the_lowest_name_that_is_free() -> None:
    first, second = (take_instance(kafka(), "web") for _ in range(2))
    assert (first.name, second.name) == ("web-0", "web-1")
    first.release()
    assert take_instance(kafka(), "web").name == "web-0"
    assert take_instance(kafka(), "web").name == "web-2"


def test_groups_do_not_take_each_others_names() -> None:
    assert [take_instance(kafka(group=g), "web").name for g in ("a", "b")] == ["web-0", "web-0"]


def test_a_name_that_is_taken_on_this_host_is_refused_in_one_sentence() -> None:
    held = take_instance(kafka("probe"))
    with pytest.raises(SettingsError, match="'probe': another process on this host is that member"):
        take_instance(kafka("probe"))
    held.release()
    assert take_instance(kafka("probe")).name == "probe"


def test_a_chosen_name_and_one_that_was_given_are_not_the_same() -> None:
    take_instance(kafka("web-0"))
    assert take_instance(kafka(), "web").name == "web-1"


def test_a_name_is_free_again_when_its_process_is_killed() -> None:
    program = (
        "from tests.unit.test_instance import *; "
        "print(take_instance(kafka(), 'web').name, flush=True); input()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", program], **pipes) as other:  # type: ignore[call-overload]
        assert other.stdout.readline() == b"web-0\n"
        assert take_instance(kafka(), "web").name == "web-1"
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert take_instance(kafka(), "web").name == "web-0"


@pytest.mark.parametrize(
    ("host", "name"),
    [("wéb host/1", "w-b-host-1-0"), ("h" * 300, "h" * 200 + "-0"), ("a.example", "a.example-0")],
)
def test_the_name_of_a_host_becomes_one_that_kafka_takes(host: str, name: str) -> None:
    assert take_instance(kafka(), host).name == name


@pytest.mark.parametrize("host", ["", "localhost", "localhost.localdomain"])
def test_a_host_without_a_name_of_its_own_has_dynamic_members(host: str) -> None:
    with structlog.testing.capture_logs() as logs:
        assert take_instance(kafka(), host) == Instance(None)
    assert [entry["log_level"] for entry in logs] == ["warning"]


@pytest.mark.parametrize("name", [None, "probe"])
def test_where_nothing_can_be_locked_it_goes_on_and_says_so(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / "missing"))
    with structlog.testing.capture_logs() as logs:
        assert take_instance(kafka(name), "web") == Instance(name)
    assert [entry["event"] for entry in logs] == ["names cannot be locked on this host"]


def test_a_link_is_not_followed(temporary: Path) -> None:
    first = take_instance(kafka(), "web")
    assert first.lock
    path = first.lock.path
    first.release()
    target = temporary / "precious"
    path.symlink_to(target)
    target.write_text("kept")
    assert take_instance(kafka(), "web").name == "web-1"
    assert target.read_text() == "kept"


def test_no_file_is_left_behind(temporary: Path) -> None:
    take_instance(kafka(), "web").release()
    assert list(temporary.iterdir()) == []
