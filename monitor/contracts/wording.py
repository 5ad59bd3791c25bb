"""A feature of an anomaly in words: `dst_host_count 255, expected about 3`.

What an event says of itself is untrusted: strings are bounded and made printable, numbers finite.
"""

from monitor.batch import FeatureDeviation
from monitor.contracts.ocsf import ExplainedFeature
from monitor.contracts.text import LARGEST_IN_FULL, FeatureValue, clean, finite, plain, shown

LONGEST_IN_FULL = 10_000
_LARGE = ((1e12, "T"), (1e9, "G"), (1e6, "M"))


def explained(feature: FeatureDeviation) -> ExplainedFeature:
    """A deviation as an alert can hold it."""
    share = min(max(finite(feature.share), 0.0), 1.0)
    return ExplainedFeature(
        name=clean(feature.name),
        observed=plain(feature.observed),
        expected=plain(feature.expected),
        share=share,
        usual=tuple(map(plain, feature.usual)) or None,
        unseen=feature.unseen or None,
    )


def reason(feature: ExplainedFeature) -> str:
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


def _among_categories(feature: ExplainedFeature, expected: str) -> str:
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

    `digits` are significant ones; by default whole numbers below a million come in full.
    """
    if value is None or isinstance(value, (bool, str)) or abs(value) >= LARGEST_IN_FULL:
        return shown(value, digits)
    for size, letter in _LARGE:
        if abs(value) >= size:
            return f"{shown(value / size, digits or 3)} {letter}"
    text = shown(value, digits)
    return f"{float(text):,g}" if LONGEST_IN_FULL <= abs(value) < 1e6 else text
