"""Prometheus accepts the configurations, and the alert rules fire when they should."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest

from monitor.telemetry.metrics import Metrics
from tests.deploy import catalogue
from tests.support import tools

DEPLOY = Path(__file__).parents[2] / "deploy"
CONFIGURATIONS = [DEPLOY / "prometheus/prometheus.yml", DEPLOY / "compose/prometheus.yml"]
RULES = DEPLOY / "prometheus/rules/anomaly-monitor.rules.yml"
SCENES = DEPLOY / "prometheus/tests/anomaly-monitor.test.yml"
ALERTS: dict[str, Any] = {
    rule["alert"]: rule
    for group in yaml.safe_load(RULES.read_text())["groups"]
    for rule in group["rules"]
}


def promtool(*arguments: str | Path) -> None:
    ran = subprocess.run([tools.promtool(), *arguments], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda path: path.parent.name)
def test_the_configuration_is_valid(configuration: Path) -> None:
    promtool("check", "config", configuration)


def test_the_metrics_are_named_as_prometheus_would_have_them() -> None:
    scraped = generate_latest(Metrics().registry)
    checked = subprocess.run(
        [tools.promtool(), "check", "metrics"], input=scraped, capture_output=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_rules_are_valid() -> None:
    promtool("check", "rules", "--lint-fatal", RULES)


def test_the_rules_fire_in_the_scenes_that_call_for_it_and_in_no_other() -> None:
    promtool("test", "rules", SCENES)


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_has_a_scene_where_it_fires_and_one_where_it_does_not(alert: str) -> None:
    expected = [
        bool(check.get("exp_alerts"))
        for scene in yaml.safe_load(SCENES.read_text())["tests"]
        for check in scene.get("alert_rule_test", [])
        if check["alertname"] == alert
    ]
    assert set(expected) == {True, False}


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_says_how_severe_it_is_and_what_to_do(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"].keys() >= {"summary", "description"}
    assert rule["for"]


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_looks_at_metrics_that_the_monitor_has(alert: str) -> None:
    assert catalogue.mentioned(ALERTS[alert]["expr"]) <= catalogue.FAMILY_OF.keys()
