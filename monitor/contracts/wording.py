"""An anomaly in words: `dst_host_count 255, expected about 3`.

What an event says of itself is untrusted: strings are bounded and made printable, numbers finite.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import NamedTuple

from monitor.batch import FeatureDeviation
from monitor.contracts.ocsf import MAX_LINE
from monitor.contracts.text import LARGEST_IN_FULL, FeatureValue, clean, finite, plain, shown
from monitor.detect.incidents import Activity
from monitor.detect.spikes import Spike

FEATURES_IN_MESSAGE = 3
LONGEST_IN_FULL = 10_000
MOST_DIGITS = 4
_LARGE = ((1e12, "T"), (1e9, "G"), (1e6, "M"))


class Explained(NamedTuple):
    """A feature's deviation, fit to be shown and written: `ExplainedFeature` of an alert."""

    name: str
    observed: FeatureValue
    expected: FeatureValue
    share: float
    usual: tuple[FeatureValue, ...] | None
    unseen: bool | None


class Story(NamedTuple):
    """What there is to say of an incident, fit to be shown.

    Attributes:
        error, threshold, tail_probability, features: of its worst vector.
    """

    vectors: int
    span_ms: int
    spike: Spike | None
    error: float
    threshold: float
    tail_probability: float
    features: Sequence[Explained]


def message(story: Story, activity: Activity) -> str:
    """Why, in one line: what the incident has come to, then what is odd in its worst vector."""
    parts = [_sentence_of(story.spike)] if story.spike else []
    if story.vectors > 1 or (story.vectors and activity is Activity.CLOSE):
        many = f"{story.vectors:,} anomalous vector{'s' if story.vectors != 1 else ''}"
        parts.append(f"{many} in {duration(story.span_ms)}" if story.span_ms else many)
    if activity is Activity.CLOSE and parts:
        parts[0] = f"over: {parts[0]}"
    return clean("; ".join([*parts, _reasons(story)]), MAX_LINE)


def description(story: Story) -> str:
    """How wrong and how rare the worst vector is."""
    p = story.tail_probability
    rarity = f"about 1 in {1 / p:,.0f}" if p >= 1e-9 else "fewer than 1 in a billion"
    return (
        f"Reconstruction error {story.error:.3g}, threshold {story.threshold:.3g}: {rarity} normal "
        "vectors deviates this much."
    )


def _reasons(story: Story) -> str:
    # A category can be the likeliest and still be reconstructed badly: that explains nothing.
    telling = (f for f in story.features if shown(f.observed, 2) != shown(f.expected, 2))
    first = list(islice(telling, FEATURES_IN_MESSAGE)) or story.features[:FEATURES_IN_MESSAGE]
    reasons = [reason(feature) for feature in first]
    return "; ".join(reasons) or description(story)


def _sentence_of(spike: Spike) -> str:
    """`anomaly ratio 12 %, usually about 0.1 %, since 10:32 UTC`."""
    since = datetime.fromtimestamp(spike.since_ms / 1000, UTC).strftime("%H:%M UTC")
    if spike.measure == "anomaly ratio":
        observed, usual = _percent(spike.observed), _percent(spike.usual)
    else:
        observed, usual = f"{spike.observed:.3g}", f"{spike.usual:.3g}"
    return f"{spike.measure} {observed}, usually about {usual}, since {since}"


def _percent(share: float) -> str:
    return f"{float(f'{100 * share:.2g}'):g} %"


def duration(ms: int) -> str:
    """`45 s`, `6 min`, `3.5 h`, `2.1 days`."""
    for size, unit in ((86_400_000, "days"), (3_600_000, "h")):
        if ms >= size:
            return f"{ms / size:.1f} {unit}"
    return f"{ms // 60_000} min" if ms >= 60_000 else f"{max(round(ms / 1000), 1)} s"


def explained(feature: FeatureDeviation) -> Explained:
    """A deviation as an alert can hold it."""
    share = feature.share
    return Explained(
        clean(feature.name),
        plain(feature.observed),
        plain(feature.expected),
        share if 0 <= share <= 1 else min(max(finite(share), 0.0), 1.0),
        tuple([plain(value) for value in feature.usual]) or None,
        feature.unseen or None,
    )


def reason(feature: Explained) -> str:
    """What was observed, against what was expected and, where that says more, what is usual."""
    observed, expected = feature.observed, feature.expected
    seen = f"{feature.name} {readable(observed)}"
    if isinstance(expected, str):
        return seen + _among_categories(feature, expected)
    usual = feature.usual if feature.unseen else None
    if usual and usual[0] == usual[-1]:
        return f"{seen}, always {readable(usual[0])} in training"
    about = "about " if isinstance(expected, float) else ""
    return f"{seen}, expected {about}{readable(expected, 2)}{_beyond(observed, usual)}"


def _among_categories(feature: Explained, expected: str) -> str:
    usual = [shown(value) for value in feature.usual or ()]
    if not usual or shown(feature.observed) in usual:
        return f", expected {expected}"
    new = ", never seen in training" if feature.unseen else ""
    return f"{new}, usually {_either(usual)}"


def _beyond(observed: FeatureValue, usual: tuple[FeatureValue, ...] | None) -> str:
    """The end of the training values that a number lies beyond."""
    if not usual or not isinstance(observed, (int, float)):
        return ""
    low, high = usual[0], usual[-1]
    if isinstance(high, (int, float)) and observed > high:
        return f", at most {readable(high)} in training"
    return f", at least {readable(low)} in training"


def _either(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]


def readable(value: FeatureValue, digits: int | None = None) -> str:
    """A value at a glance: from ten thousand on in groups of three, from a million on as 1.23 M.

    `digits` are significant ones; by default four, or all of a whole number below a million.
    """
    if value is None or isinstance(value, (bool, str)) or abs(value) >= LARGEST_IN_FULL:
        return shown(value, digits)
    for size, letter in _LARGE:
        if abs(value) >= size:
            return f"{shown(value / size, digits or 3)} {letter}"
    if digits is None and not float(value).is_integer():
        digits = MOST_DIGITS
    text = shown(value, digits)
    return f"{float(text):,.10g}" if LONGEST_IN_FULL <= abs(value) < 1e6 else text
