"""Pages made from catalogues: the metrics, the errors and the log lines."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from monitor.telemetry.merge import GAUGES
from monitor.telemetry.metrics import Metrics, SupervisorMetrics
from tests.docs.markdown import ADVICE, advice, code, table
from tests.docs.sentences import error_classes, error_sentences, log_events

METRICS_INTRODUCTION = """\
# Metrics

Served at `/metrics` of `telemetry.host` and `telemetry.port` (127.0.0.1:9464), for Prometheus.
Counters are zero from the start for each value of a closed label. Beside these are Prometheus'
usual `process_...` metrics: memory, CPU time, open files.

`/healthz` answers 200 while the process lives. `/readyz` answers 200 when bundle, broker, group,
state and outputs are in order, else 503, and says of each part what is wrong with it.

With several workers it is one page still: counters and histograms are sums, which do not go back
when a worker ends and starts again, and each gauge below says what it is made of. Only the
`process_...` metrics tell of each worker, by a label `worker`. `/readyz` answers 200 when all are
in order, and says of each part of each worker what is wrong with it."""

ERRORS_INTRODUCTION = """\
# Errors and log lines

An error that you can mend is one sentence on standard error, without a traceback, and an exit
code:

| exit code | meaning |
|---|---|
| 0 | it ended as asked: the work is done, or `monitor run` was told to stop by SIGTERM or Ctrl-C |
| 1 | it stopped rather than lose something; starting again may help |
| 2 | something must be changed first; nothing was consumed. A wrong option is of this kind |
| 130 | Ctrl-C came before the work was done |

Below, … stands for what is filled in: a name, a value, or another program's words."""

LOGS_INTRODUCTION = """
## Log lines

The daemon logs on standard error: a line for people on a terminal, else one JSON object a line
with `timestamp`, `level` and `event`.
"""


def metrics_page() -> str:
    """Every metric, with its labels and what to watch it for."""
    metrics = Metrics()
    metrics.consumer_lag_records.labels("", 0)
    metrics.offset_resets.labels("", 0)
    metrics.bundle.info({"bundle": "", "network": "", "device": ""})
    lines = [METRICS_INTRODUCTION]
    families = chain(metrics.registry.collect(), SupervisorMetrics().registry.collect())
    for family in families:
        if family.name.startswith("anomaly_monitor_"):
            suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
            lines += ["", f"## `{family.name}{suffix}`", ""]
            lines += [f"{family.type.capitalize()}. {family.documentation}", ""]
            lines += [*_labels(family.samples)]
            if family.name in GAUGES:
                lines += [f"- Of several workers: {GAUGES[family.name].__doc__}."]
            lines += [f"- Watch: {advice('metrics', family.name)}"]
    return "\n".join(lines)


def _labels(samples: Iterable[Any]) -> Iterator[str]:
    values: dict[str, dict[str, None]] = {}
    for sample in samples:
        for label, value in sample.labels.items():
            if label != "le":
                values.setdefault(label, {})[f"`{value}`"] = None
    for label, found in values.items():
        yield f"- Label `{label}`: {ADVICE['labels'].get(label, ', '.join(found))}."


def errors_page() -> str:
    """Every class of errors with the sentences that it says, and every event that is logged."""
    lines = [ERRORS_INTRODUCTION]
    sentences, events = error_sentences(), log_events()
    _refuse_stale("errors", map(_fragment, chain.from_iterable(sentences.values())))
    _refuse_stale("logs", events)
    for kind in error_classes():
        lines += ["", f"## {kind.__name__}: exit code {kind.exit_code}", ""]
        lines.append((kind.__doc__ or "").partition("\n")[0])
        said = sentences[kind.__name__]
        rows = [[code(text), advice("errors", _fragment(text))] for text in said]
        lines += ["", *table(["it says", "what to do"], rows)] if rows else []
    lines.append(LOGS_INTRODUCTION)
    lines += table(
        ["event", "level", "what it means"],
        [[f"`{event}`", level, advice("logs", event)] for event, level in sorted(events.items())],
    )
    return "\n".join(lines)


def _fragment(sentence: str) -> str:
    """The longest that is in the sentence; the sentence itself where there is none."""
    return max((f for f in ADVICE["errors"] if f in sentence), key=len, default=sentence)


def _refuse_stale(about: str, said: Iterable[str]) -> None:
    if stale := sorted(ADVICE[about].keys() - set(said)):
        raise SystemExit(f"advice.toml: [{about}] has what nothing says any more: {stale}")
