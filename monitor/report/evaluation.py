"""The report of an evaluation: what a bundle finds in labelled traffic, and what it costs."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from monitor.batch import EventIdentity
from monitor.contracts.manifest import Manifest
from monitor.contracts.text import clean
from monitor.contracts.wording import explained, reason
from monitor.detect.detector import Detector
from monitor.detect.explain import explain
from monitor.evaluate import Evaluation, Rows, reread
from monitor.report import evaluation_plots as plots
from monitor.report.bundle import bundle_facts
from monitor.report.page import facts, note, section, svg, table, tiles, write_page

WORST_SHOWN = 12
WORST_PER_LABEL = 3
REASONS = 3
LABELS_SHOWN = 40
SAME_FILE = (
    "This file has the name of the one that the bundle was trained on: rows that were trained on "
    "look better than others will."
)
AS_EXPECTED = "nothing: every feature is as expected"


@dataclass(frozen=True, slots=True)
class Judged:
    """A bundle and what came of a labelled file."""

    detector: Detector
    manifest: Manifest
    source: Path
    evaluation: Evaluation


def write_evaluation_report(judged: Judged, file: Path) -> None:
    """Write curves, errors, recall by label, kept promises, worst rows and the latent space.

    Reads the source once more, for what its worst rows say of themselves.

    Raises:
        DataError: the source or the report cannot be read or written.
    """
    title = f"Bundle {judged.manifest.bundle_id} on {clean(judged.source.name)}"
    write_page(file, title, list(_content(judged)))


def _content(judged: Judged) -> Iterator[str]:
    evaluation, detector = judged.evaluation, judged.detector
    figures = evaluation.figures()
    yield tiles(_headline(figures))
    if evaluation.unsaid:
        yield note(f"What this cannot tell: {evaluation.unsaid}")
    if judged.source.name == judged.manifest.training.source:
        yield note(SAME_FILE)
    yield facts(_facts(judged))
    if evaluation.has_both:
        yield section(
            "Ranking",
            "How well errors rank attacks above benign traffic, whatever the threshold. The dot is "
            "the bundle's own threshold; the axis of false positives is logarithmic, as only its "
            "left end is affordable.",
            svg(
                lambda axes: plots.roc(axes, evaluation),
                lambda axes: plots.precision_recall(axes, evaluation),
                size=(8.0, 3.2),
            ),
        )
    yield section(
        "Errors and the threshold",
        "Vectors by reconstruction error. What lies right of the line is an alert.",
        svg(lambda axes: plots.errors(axes, evaluation), size=(8.0, 2.8)),
    )
    yield section(
        "Share over the threshold, by label",
        "Labels count the rows; they chose nothing. The second bar is what a threshold would find "
        "that lets at most 1 % of this file's benign rows alert.",
        svg(
            lambda axes: plots.by_label(axes, evaluation, LABELS_SHOWN),
            size=(8.0, 1.0 + 0.28 * min(len(evaluation.label_names), LABELS_SHOWN)),
        ),
    )
    if not evaluation.attack.all():
        yield section(
            "False alarms, promised and realised",
            "For every budget, the share of this file's benign rows that would alert. On the "
            "diagonal the promise is kept; above it traffic differs from what was trained on. The "
            "band is where chance alone may put the line (95 %, Clopper-Pearson).",
            svg(lambda axes: plots.promises(axes, evaluation, detector), size=(8.0, 3.6)),
        )
    yield from _worst(judged)
    yield section(
        "Latent space",
        "Where the network's bottleneck puts a sample of the rows: its first two principal "
        "components. The outermost points lie on the edges.",
        svg(lambda axes: plots.latent(axes, evaluation, detector), size=(8.0, 4.2)),
    )


def _headline(figures: dict[str, object]) -> dict[str, str]:
    at_one_percent = figures["tpr_at_fpr"]
    assert isinstance(at_one_percent, dict)
    return {
        "area under the ROC curve": _figure(figures["auc_roc"]),
        "average precision": _figure(figures["average_precision"]),
        "attacks found at 1 % false alarms": _percent(at_one_percent["0.01"]),
        "attacks found at the bundle's threshold": _percent(figures["detection_rate"]),
        f"false alarms, {_percent(figures['false_alarm_rate_target'])} promised": _percent(
            figures["false_alarm_rate_realised"]
        ),
    }


def _facts(judged: Judged) -> dict[str, str]:
    evaluation = judged.evaluation
    attacks = int(evaluation.attack.sum())
    return {
        "Judged": f"{clean(judged.source.name)}: {len(evaluation.errors):,} vectors, {attacks:,} "
        f"of them attacks, {evaluation.rejected:,} rows rejected",
        **bundle_facts(judged.detector, judged.manifest),
    }


def _worst(judged: Judged) -> Iterator[str]:
    evaluation = judged.evaluation
    missed = evaluation.misses.take(evaluation.misses.errors <= evaluation.threshold)
    alarms = evaluation.false_alarms
    alarms = alarms.take(alarms.errors > evaluation.threshold)
    chosen = [_different(missed, WORST_PER_LABEL), _different(alarms, WORST_SHOWN)]
    rows = [int(row) for worst in chosen for row in worst.rows]
    said = reread(judged.source, judged.manifest.spec, rows)
    sections = (
        (
            "Worst misses",
            "Attacks that look most like normal traffic, and what deviates most all the same.",
            "No attack was missed." if evaluation.attack.any() else "There is no attack.",
        ),
        (
            "Worst false alarms",
            "Benign rows that look least like normal traffic, and why.",
            "No benign row alerts." if not evaluation.attack.all() else "There is no benign row.",
        ),
    )
    for (title, text, none), worst in zip(sections, chosen, strict=True):
        yield section(title, text, _rows(judged, worst, said) if len(worst) else note(none))


def _different(worst: Rows, of_one_label: int) -> Rows:
    """A few that are not alike: no vector twice, and no label more often than that."""
    seen: set[bytes] = set()
    times: Counter[int] = Counter()

    def distinct() -> Iterator[int]:
        for i, code in enumerate(worst.label_codes.tolist()):
            vector = worst.values[i].tobytes()
            if vector not in seen and times[code] < of_one_label:
                seen.add(vector)
                times[code] += 1
                yield i

    return worst.take(list(islice(distinct(), WORST_SHOWN)))


def _rows(judged: Judged, worst: Rows, said: dict[int, EventIdentity]) -> str:
    events = [said[int(row)] for row in worst.rows]
    reasons = explain(judged.detector, worst.values, [event.observed for event in events], REASONS)
    names = judged.evaluation.label_names
    lines = [
        (
            clean(names[code]),
            "; ".join(reason(explained(feature)) for feature in features) or AS_EXPECTED,
            _whom(event),
            f"{row + 1:,}",
            f"{error:.3g}",
        )
        for code, features, event, row, error in zip(
            worst.label_codes, reasons, events, worst.rows, worst.errors, strict=True
        )
    ]
    shown: Sequence[int] = [0, 1, 2, 3, 4] if any(line[2] for line in lines) else [0, 1, 3, 4]
    header = ("label", "what deviates", "who", "row", "error")
    return table(
        [header[i] for i in shown], [[line[i] for i in shown] for line in lines], len(shown) - 2
    )


def _whom(event: EventIdentity) -> str:
    ends = (event.source_address, event.destination_address)
    whom = " to ".join(clean(end) for end in ends if end)
    return whom or clean(event.record_id or "")


def _figure(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "-"


def _percent(value: object) -> str:
    return f"{100 * value:.3g} %" if isinstance(value, float) else "-"
