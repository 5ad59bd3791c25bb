"""A spec says what a vector is, and a wrong one is refused in a sentence."""

from pathlib import Path

import pytest

from monitor.errors import SpecError
from monitor.features import FeatureSpec, presets

MINIMAL = 'name = "x"\n[[features]]\nname = "a"\nkind = "numeric"\n'


def spec_from(tmp_path: Path, text: str) -> FeatureSpec:
    file = tmp_path / "spec.toml"
    file.write_text(text)
    return FeatureSpec.load(file)


def test_a_minimal_spec_names_one_feature(tmp_path: Path) -> None:
    spec = spec_from(tmp_path, MINIMAL)
    assert spec.names == ("a",)
    assert spec.features[0].path == "a"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('name = "x"\n', "features"),
        (MINIMAL + 'colour = "red"\n', "features.0.colour"),
        (MINIMAL.replace("numeric", "complex"), "features.0.kind"),
        (MINIMAL + '[[features]]\nname = "a"\nkind = "boolean"\n', "two features have"),
        (MINIMAL + 'default = "none"\n', "default 'none' is not numeric"),
        (MINIMAL + "default = true\n", "default True is not numeric"),
        (
            MINIMAL.replace("numeric", "categorical") + 'transform = "log"\n',
            "only numeric features take a transform",
        ),
        ("format_version = 2\n" + MINIMAL, "format_version"),
        ("name = ", "not valid TOML"),
    ],
)
def test_a_wrong_spec_is_refused_with_the_file_and_the_field(
    tmp_path: Path, text: str, says: str
) -> None:
    with pytest.raises(SpecError, match=r"spec\.toml") as refusal:
        spec_from(tmp_path, text)
    assert says in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="No such file"):
        FeatureSpec.load(tmp_path / "none.toml")


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SpecError, match="preset:zeek-conn"):
        FeatureSpec.load("preset:nothing")


@pytest.mark.parametrize("preset", list(presets()))
def test_every_preset_loads(preset: str) -> None:
    assert len(FeatureSpec.load(preset)) >= 5


def test_the_digest_changes_with_the_meaning_and_not_with_the_prose(tmp_path: Path) -> None:
    spec = spec_from(tmp_path, MINIMAL)
    assert spec_from(tmp_path, 'description = "y"\n' + MINIMAL).digest == spec.digest
    assert spec_from(tmp_path, MINIMAL + "default = 0\n").digest != spec.digest
    assert spec_from(tmp_path, MINIMAL + 'transform = "linear"\n').digest != spec.digest
