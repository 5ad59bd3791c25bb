"""The sentences in which errors and logs speak, as the source code has them.

What is filled in at run time is shown as …, so that a sentence can be found by its fixed words.
"""

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import monitor
from monitor.errors import MonitorError

PACKAGE = Path(monitor.__file__).parent
GAP = "…"
# Functions that return a sentence, or its end, to whoever raises it.
RETURNED = {
    ("config_sources.py", "_problem"): "SettingsError",
    ("train.py", "_nothing_normal"): "DataError",
    ("bundle.py", "_mismatch"): "BundleError",
}
# Where pydantic's validators raise ValueError, and what becomes of it.
VALIDATED = {
    **dict.fromkeys(
        ("config/__init__.py", "config/kafka.py", "config/detection.py"), "SettingsError"
    ),
    "features.py": "SpecError",
}
LEVELS = ("info", "warning", "error", "exception")


@cache
def error_classes() -> list[type[MonitorError]]:
    """MonitorError and all that derive from it, parents first."""
    for module in pkgutil.walk_packages([str(PACKAGE)], "monitor."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    return list(_family(MonitorError))


def error_sentences() -> dict[str, list[str]]:
    """By name of the class that they are raised as, each sentence once, in the order of files."""
    names = {kind.__name__ for kind in error_classes()}
    found: dict[str, dict[str, None]] = {name: {} for name in names}
    for file, tree in _trees():
        for name, sentence in _raised(file, tree, names):
            if any(part.strip(" :.;()") for part in sentence.split(GAP)):
                found[name][sentence] = None
    return {name: list(sentences) for name, sentences in found.items()}


def log_events() -> dict[str, str]:
    """Level of each event that the daemon logs."""
    found: dict[str, str] = {}
    for _, tree in _trees():
        for call in _calls(tree):
            match call.func:
                case ast.Attribute(ast.Name("log"), level) if level in LEVELS:
                    words = call.args[0]
                    choices = (
                        (words.body, words.orelse) if isinstance(words, ast.IfExp) else [words]
                    )
                    level = level.replace("exception", "error")
                    found |= {_text(choice): level for choice in choices}
    return found


def _raised(file: str, tree: ast.AST, names: set[str]) -> Iterator[tuple[str, str]]:
    for call in _calls(tree):
        match call.func:
            case ast.Name(name) if name in names and call.args:
                yield name, _text(call.args[0])
            case ast.Name("kind") if call.args:  # a class that was chosen just before
                yield "StreamError", _text(call.args[0])
            case ast.Name("ValueError") if file in VALIDATED:
                yield VALIDATED[file], _text(call.args[0])
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and (file, node.name) in RETURNED:
            for inner in ast.walk(node):
                if isinstance(inner, ast.Return) and inner.value is not None:
                    yield RETURNED[file, node.name], _text(inner.value)


def _text(expression: ast.expr) -> str:
    match expression:
        case ast.Constant(str(text)):
            return text
        case ast.JoinedStr(parts):
            return "".join(map(_text, parts))
    return GAP


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _trees() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text("utf-8"))


def _family(kind: type[MonitorError]) -> Iterator[type[MonitorError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _family(child)
