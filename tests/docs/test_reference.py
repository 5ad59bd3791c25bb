"""The reference in docs/ is what the code says and leaves nothing out, and links lead somewhere."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from pydantic import BaseModel

from monitor.cli import app
from monitor.config import Settings
from monitor.features import Feature, FeatureSpec, Identity
from monitor.telemetry.metrics import Metrics, SupervisorMetrics
from tests.docs.models import UNITS
from tests.docs.sentences import error_classes

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
)


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text("utf-8")


def settings(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        many = [kind for kind in get_args(field.annotation) if isinstance(kind, type)]
        inner = many[0] if many else field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from settings(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def commands(command: Any, name: str = "monitor") -> Iterator[tuple[str, Any]]:
    yield name, command
    for word, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, f"{name} {word}")


def help_texts() -> dict[str, str]:
    """Of each command, as the page of the commands has it."""
    return dict(re.findall(r"^## `([^`]+)`\n\n```text\n(.*?)```", page("cli.md"), re.M | re.S))


def test_the_pages_are_what_the_code_says() -> None:
    command = [sys.executable, "-m", "tests.docs.generate", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_setting_is_documented_with_its_variable() -> None:
    found = re.findall(r"^\| `([\w.]+)`(?:<br>`(\w+)`)? \|", page("settings.md"), re.MULTILINE)
    assert sorted(name for name, _ in found) == sorted(name for name, _ in settings())
    for name, variable in found:
        listed = name.startswith("suppress.")  # a list of tables, which no variable holds
        assert variable == ("" if listed else f"MONITOR_{name.replace('.', '__').upper()}")


def test_every_numeric_setting_says_its_unit() -> None:
    text = page("settings.md")
    numeric = [n for n, field in settings() if re.search(r"\b(int|float)\b", str(field.annotation))]
    assert "batch.max_delay_ms" in numeric
    for name in numeric:
        row = re.search(rf"^\| `{re.escape(name)}`.*?\| (.*?) \|", text, re.MULTILINE)
        assert row, name
        units = "|".join(UNITS.values())
        assert re.search(rf"number, ({units})\b", row[1]), row[0]


def test_every_metric_is_documented() -> None:
    documented = set(re.findall(r"^## `(\w+)`", page("metrics.md"), re.MULTILINE))
    suffixes = {"counter": "_total", "info": "_info"}
    assert documented == {
        family.name + suffixes.get(family.type, "")
        for registry in (Metrics().registry, SupervisorMetrics().registry)
        for family in registry.collect()
        if family.name.startswith("anomaly_monitor_")
    }


def test_every_error_class_is_documented_with_its_exit_code() -> None:
    documented = re.findall(r"^## (\w+): exit code (\d)$", page("errors.md"), re.MULTILINE)
    assert documented == [(kind.__name__, str(kind.exit_code)) for kind in error_classes()]


def test_every_field_of_a_spec_is_documented() -> None:
    names = [name for model in (FeatureSpec, Feature, Identity) for name in model.model_fields]
    assert re.findall(r"^\| `(\w+)` \|", page("spec.md"), re.MULTILINE) == names


def test_every_command_and_each_of_its_options_is_documented() -> None:
    sections = help_texts()
    for name, command in commands(typer.main.get_command(app)):
        assert command.help, f"{name} has no help"
        for parameter in command.params:
            for option in parameter.opts:
                assert option in sections[name], f"{name} {option}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        linked = path.parent / file if file else path
        assert linked.exists(), target
        assert ROOT in [linked.resolve(), *linked.resolve().parents], target
        if anchor:
            assert anchor in anchors(linked.read_text("utf-8")), target


def anchors(text: str) -> set[str]:
    """Of a page's headings, as they are made on the web."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def test_the_documented_example_is_a_spec() -> None:
    [example] = re.findall(r"```toml\n(.*?)```", page("spec.md"), re.DOTALL)
    assert len(FeatureSpec.parse(tomllib.loads(example), "docs/spec.md")) == 4


def test_the_settings_of_the_readme_are_settings() -> None:
    [example] = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    assert Settings.model_validate(tomllib.loads(example)).kafka.input_topics == ("vectors",)


def test_the_commands_of_the_readme_exist_with_their_options() -> None:
    texts = help_texts()
    lines = re.findall(r"^\$ \S*(monitor .*?)(?: +#.*)?$", README, re.MULTILINE)
    assert len(lines) > 5
    for line in lines:
        name = max((name for name in texts if f"{line} ".startswith(f"{name} ")), key=len)
        assert name != "monitor", line
        for option in re.findall(r" (--?[a-z][a-z-]*)", line):
            assert re.search(rf"(^|[ ,]){option}\b", texts[name], re.MULTILINE), f"{line}: {option}"
