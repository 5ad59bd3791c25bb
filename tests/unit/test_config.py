"""Settings: where they come from, and the one sentence when something is wrong with them."""

import os
import tomllib
from datetime import datetime
from pathlib import Path

import pytest

from monitor.config_sources import changed_settings, load_settings, show_settings
from monitor.errors import SettingsError

FIXED = """\
bundle = "bundles/nsl-kdd"
device = "auto"
[kafka]
bootstrap_servers = "127.0.0.1:9092"
group_id = "monitor"
input_topics = ["vectors"]
auto_offset_reset = "earliest"   # where the group has no offset yet
alert_topic = "alerts"
dead_letter_topic = "dead-letters"
[batch]
max_vectors = 4096
max_delay_ms = 20
[telemetry]
host = "127.0.0.1"
port = 9464
"""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MONITOR_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "monitor.toml"
    path.write_text(FIXED)
    return path


def refusal(file: Path, flags: dict | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(file, flags)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_the_fixed_file_is_enough_by_itself(file: Path) -> None:
    settings = load_settings(file).settings
    assert settings.kafka.input_topics == ("vectors",)
    assert settings.batch.max_delay_ms == 20
    assert settings.telemetry.port == 9464


def test_the_environment_overrides_the_file_and_flags_override_both(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONITOR_BATCH__MAX_VECTORS", "100")
    monkeypatch.setenv("MONITOR_TELEMETRY__PORT", "1000")
    monkeypatch.setenv("MONITOR_KAFKA__INPUT_TOPICS", "flows, dns")
    loaded = load_settings(file, {"telemetry": {"port": 2000}})
    assert loaded.settings.batch.max_vectors == 100
    assert loaded.settings.batch.max_delay_ms == 20
    assert loaded.settings.telemetry.port == 2000
    assert loaded.settings.kafka.input_topics == ("flows", "dns")
    assert loaded.origins["telemetry.port"] == "flag"
    assert loaded.origins["batch.max_vectors"] == "environment"


def test_everything_can_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONITOR_BUNDLE", "b")
    monkeypatch.setenv("MONITOR_KAFKA__BOOTSTRAP_SERVERS", "a:1,[::1]:2")
    monkeypatch.setenv("MONITOR_KAFKA__INPUT_TOPICS", "vectors")
    assert load_settings(None).settings.kafka.bootstrap_servers == "a:1,[::1]:2"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("group_id", "grup_id", "kafka.grup_id: no such setting; did you mean kafka.group_id?"),
        (
            "bootstrap_servers",
            "bootstrap_server",
            "kafka.bootstrap_server: no such setting; did you mean kafka.bootstrap_servers?",
        ),
        ("[telemetry]", "[telemtry]", "telemtry: no such setting; did you mean telemetry?"),
        ('bundle = "bundles/nsl-kdd"', "", "bundle: is required and missing."),
        (
            '"earliest"',
            '"newest"',
            "kafka.auto_offset_reset: expected 'earliest' or 'latest', got \"newest\".",
        ),
        ("4096", "0", "batch.max_vectors: expected a number greater than or equal to 1, got 0."),
        ('"auto"', '"gpu"', "device: expected auto, cpu, cuda or cuda:N, got 'gpu'."),
        ('["vectors"]', "[]", "kafka.input_topics: names no topic."),
        ('["vectors"]', '["a b"]', "kafka.input_topics: 'a b' is no topic name"),
        ("127.0.0.1:9092", "127.0.0.1", "kafka.bootstrap_servers: '127.0.0.1' is not host:port."),
        ('["vectors"]', '["vectors", "alerts"]', "alert_topic 'alerts' is also an input topic"),
        ('["vectors"]', '["dead-letters"]', "dead_letter_topic 'dead-letters' is also an input"),
        ('"dead-letters"', '"alerts"', "dead_letter_topic are both 'alerts'; give each a topic"),
        ("[batch]", 'group_instance_id = "a b"\n[batch]', "instance_id: 'a b' is no member name"),
        ("[batch]", "[[", "is not valid TOML"),
        ("[batch]", 'ssl_cafile = "/no/such.pem"\n[batch]', "kafka.ssl_cafile: /no/such.pem"),
        (
            "[batch]",
            'security_protocol = "SASL_SSL"\n[batch]',
            "kafka: security_protocol SASL_SSL needs a sasl_mechanism.",
        ),
        (
            "[batch]",
            'security_protocol = "SASL_SSL"\nsasl_mechanism = "PLAIN"\n[batch]',
            "kafka: sasl_mechanism PLAIN needs a sasl_username and a sasl_password_file",
        ),
        ("[batch]", 'sasl_username = "u"\n[batch]', "kafka: sasl_username needs a security_prot"),
        ("[batch]", "ssl_check_hostname = false\n[batch]", "kafka: ssl_check_hostname needs a sec"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(
    file: Path, old: str, new: str, expected: str
) -> None:
    assert old in FIXED
    file.write_text(FIXED.replace(old, new))
    sentence = refusal(file)
    assert sentence.startswith(f"settings {file}: ")
    assert expected in sentence
    assert "\n" not in sentence


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    assert refusal(missing) == f"settings {missing}: cannot be read (No such file or directory)."


def test_a_wrong_variable_or_flag_is_said_to_be_one(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert refusal(file, {"device": "gpu"}).startswith("flag: device: ")
    monkeypatch.setenv("MONITOR_BATCH__MAX_DELAY_MS", "-1")
    assert refusal(file).startswith("environment: batch.max_delay_ms: ")


def test_a_misspelt_variable_is_refused_and_one_of_kubernetes_is_not(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONITOR_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("MONITOR_PORT_9464_TCP", "tcp://10.0.0.1:9464")
    load_settings(file)
    monkeypatch.setenv("MONITOR_KAFAK__GROUP_ID", "x")
    assert "MONITOR_KAFAK__GROUP_ID: no such setting; did you mean MONITOR_KAFKA?" in refusal(file)


def test_a_password_in_the_file_is_refused_without_repeating_it(file: Path) -> None:
    file.write_text(FIXED.replace("[batch]", 'sasl_password = "hush"\n[batch]'))
    sentence = refusal(file)
    assert "kafka.sasl_password_file" in sentence
    assert "MONITOR_KAFKA__SASL_PASSWORD" in sentence
    assert "hush" not in sentence


def test_a_password_comes_from_its_file_or_the_environment(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = 'security_protocol = "SASL_SSL"\nsasl_mechanism = "PLAIN"\nsasl_username = "u"\n'
    secret = tmp_path / "password"
    secret.write_text("from file\n")
    file.write_text(FIXED.replace("[batch]", f'{login}sasl_password_file = "{secret}"\n[batch]'))
    assert load_settings(file).settings.kafka.password() == "from file"
    file.write_text(FIXED.replace("[batch]", f"{login}[batch]"))
    monkeypatch.setenv("MONITOR_KAFKA__SASL_PASSWORD", "from environment")
    assert load_settings(file).settings.kafka.password() == "from environment"


def test_shown_settings_are_toml_with_secrets_masked(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = 'security_protocol = "SASL_SSL"\nsasl_mechanism = "PLAIN"\nsasl_username = "u"\n'
    file.write_text(FIXED.replace("[batch]", f"{login}[batch]"))
    monkeypatch.setenv("MONITOR_KAFKA__SASL_PASSWORD", "hush")
    loaded = load_settings(file)
    shown = show_settings(loaded)
    assert "hush" not in shown + repr(loaded)
    content = tomllib.loads(shown)
    assert content["kafka"].pop("sasl_password") == "********"
    assert content["kafka"]["input_topics"] == ["vectors"]
    assert content["log"] == {"level": "info", "format": "auto"}
    assert 'sasl_password = "********"  # environment' in shown


def test_numeric_settings_say_their_unit() -> None:
    units = ("_ms", "_bytes", "_vectors", "_features", "_rate", "_per_day", "_per_minute")
    units += ("_seconds", "_days", "_incidents", "_entities")
    shown = tomllib.loads(show_settings(load_settings(None, tomllib.loads(FIXED))))
    tables = [shown, *(table for table in shown.values() if isinstance(table, dict))]
    numeric = {
        name
        for table in tables
        for name, value in table.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    assert {name for name in numeric if not name.endswith(units)} == {"port", "workers"}


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("false_alarm_rate = 0", "false_alarm_rate: expected a number greater than 0, got 0."),
        ("false_alarm_rate = 1", "false_alarm_rate: expected a number less than 1, got 1."),
        ("false_alarm_rate = -0.1", "false_alarm_rate: expected a number greater than 0, got -0.1"),
        ("false_alarm_rate = nan", "false_alarm_rate: "),
        ("alerts_per_day = 0", "alerts_per_day: expected a number greater than 0, got 0."),
        ("alerts_per_day = -20", "alerts_per_day: expected a number greater than 0, got -20."),
        ("alerts_per_day = inf", "alerts_per_day: expected a finite number, got Infinity."),
        (
            "alerts_per_day = 20\nfalse_alarm_rate = 0.001",
            "false_alarm_rate and alerts_per_day are two words for one budget: keep one of them.",
        ),
        (
            "recalibration.max_change_per_day = 0",
            "recalibration.max_change_per_day: expected a number greater than 0, got 0.",
        ),
    ],
)
def test_a_budget_that_is_none_is_refused_by_name(file: Path, line: str, sentence: str) -> None:
    file.write_text(f"{line}\n{FIXED}")
    assert f"settings {file}: {sentence}" in refusal(file)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            "incidents.update_seconds = 10",
            "incidents.update_seconds: expected a number greater than or equal to 30, got 10.",
        ),
        (
            'incidents.group_by = "host"',
            "incidents.group_by: expected 'entity' or 'none', got \"host\".",
        ),
        ("suppress = [{ entity = '10.0.0.1' }]", "suppress.reason: is required and missing."),
        (
            "suppress = [{ reason = 'known' }]",
            "suppress: 'known' has no condition: give it an entity, a feature or labels.",
        ),
        (
            "suppress = [{ reason = 'known', entity = '10.0.0.0/40' }]",
            "suppress.entity: '10.0.0.0/40' is no address range: '40' is no prefix length.",
        ),
        (
            "suppress = [{ reason = 'known', entity = '' }]",
            "suppress.entity: is empty, which nothing matches.",
        ),
        (
            "suppress = [{ reason = 'known', entity = 'a', expires = 'soon' }]",
            "suppress.expires: expected a valid datetime",
        ),
    ],
)
def test_incidents_and_suppressions_that_cannot_be_are_refused_by_name(
    file: Path, line: str, sentence: str
) -> None:
    file.write_text(f"{line}\n{FIXED}")
    assert f"settings {file}: {sentence}" in refusal(file)


def test_settings_that_differ_are_named(file: Path) -> None:
    flags = {"alerts_per_day": 20, "kafka": {"group_id": "other"}}
    old, new = load_settings(file).settings, load_settings(file, flags).settings
    assert changed_settings(old, new) == ["alerts_per_day", "kafka.group_id"]
    assert changed_settings(old, old) == []


def test_suppressions_are_shown_as_they_can_be_written(file: Path) -> None:
    rules = 'suppress = [{ reason = "known", expires = 2027-01-01T00:00:00, labels = { a = "b" } }]'
    file.write_text(f"{rules}\n{FIXED}")
    shown = tomllib.loads(show_settings(load_settings(file)))
    [rule] = shown["suppress"]
    assert rule == {
        "reason": "known",
        "expires": datetime(2027, 1, 1),
        "labels": {"a": "b"},
    }
