"""The dashboards show what the monitor measures, and Grafana and Prometheus can read them."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import catalogue
from tests.support import tools

DASHBOARDS = sorted((Path(__file__).parents[2] / "deploy/grafana/dashboards").glob("*.json"))
OF_GRAFANA = {"$__rate_interval": "5m", "$__range": "3h"}


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", [])


def charts(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in panels(dashboard) if panel["type"] != "row"]


def queries(dashboard: dict[str, Any]) -> list[str]:
    return [target["expr"] for chart in charts(dashboard) for target in chart["targets"]]


@pytest.fixture(params=DASHBOARDS, ids=lambda path: path.stem)
def dashboard(request: pytest.FixtureRequest) -> Any:
    return json.loads(request.param.read_text())


def test_dashboards_are_told_apart() -> None:
    uids = [json.loads(path.read_text())["uid"] for path in DASHBOARDS]
    assert len(set(uids)) == len(uids) > 0


def test_panels_are_told_apart(dashboard: Any) -> None:
    ids = [panel["id"] for panel in panels(dashboard)]
    assert len(set(ids)) == len(ids)


def test_panels_fill_the_grid_without_overlap(dashboard: Any) -> None:
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in dashboard["panels"])
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_each_chart_says_what_it_shows_and_in_which_unit(dashboard: Any) -> None:
    for chart in charts(dashboard):
        assert chart["title"]
        assert chart["description"].endswith(".")
        assert chart["fieldConfig"]["defaults"]["unit"]


def test_each_query_goes_to_the_chosen_data_source_job_and_instances(dashboard: Any) -> None:
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    for chart in charts(dashboard):
        for asker in (chart, *chart["targets"]):
            assert asker["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for query in queries(dashboard):
        selectors = re.findall(r"anomaly_monitor_\w+(\{[^}]*\})?", query)
        assert all('job=~"$job", instance=~"$instance"' in selector for selector in selectors)


def test_each_query_is_promql(dashboard: Any, tmp_path: Path) -> None:
    rules = [
        {"record": f"query:{number}", "expr": as_prometheus_gets_it(query)}
        for number, query in enumerate(queries(dashboard))
    ]
    file = tmp_path / "queries.json"  # JSON is YAML
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    checked = subprocess.run(
        [tools.promtool(), "check", "rules", file], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def as_prometheus_gets_it(query: str) -> str:
    for variable, example in OF_GRAFANA.items():
        query = query.replace(variable, example)
    return query


def test_each_query_asks_for_metrics_that_the_monitor_has(dashboard: Any) -> None:
    for query in queries(dashboard):
        assert catalogue.mentioned(query) <= catalogue.FAMILY_OF.keys(), query


def test_the_dashboards_together_show_every_metric() -> None:
    shown = {
        catalogue.FAMILY_OF[name]
        for path in DASHBOARDS
        for query in queries(json.loads(path.read_text()))
        for name in catalogue.mentioned(query)
    }
    assert shown == set(catalogue.FAMILY_OF.values())
