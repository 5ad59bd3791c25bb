"""The manifest of a trained bundle: everything about a detector but its numbers."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from monitor.features import FeatureSpec

BUNDLE_FORMAT_VERSION = 2
_STRICT = ConfigDict(frozen=True, extra="forbid")


_Width = Annotated[int, Field(ge=1)]
_Widths = Annotated[
    tuple[_Width, ...],
    Field(min_length=1, description="Encoder widths; the last is the bottleneck."),
]
_OneWidth = Annotated[
    tuple[_Width, ...],
    Field(min_length=1, max_length=1, description="Width of the one hidden layer."),
]


class NetworkFacts(BaseModel):
    """Which network, and its hyper-parameters."""

    model_config = _STRICT

    def hyperparameters(self) -> dict[str, Any]:
        """All but the name: what makes the network of this name again."""
        return self.model_dump(exclude={"name"})


class _DenseShape(NetworkFacts):
    hidden: _Widths
    members: int = Field(ge=1, le=100, description="Networks side by side.")


class DenseFacts(_DenseShape):
    """Dense autoencoders."""

    name: Literal["dense"]


class SimpleFacts(NetworkFacts):
    """An autoencoder of one hidden layer."""

    name: Literal["simple"]
    hidden: _OneWidth


class DenoisingFacts(_DenseShape):
    """Dense autoencoders that were trained to undo corruption."""

    name: Literal["denoising"]
    swapped: float = Field(ge=0, le=1, description="Share of the inputs that training swapped.")


class VaeFacts(NetworkFacts):
    """A variational autoencoder."""

    name: Literal["vae"]
    hidden: _Widths
    beta: float = Field(ge=0, description="Weight of the divergence in training.")


class PcaFacts(NetworkFacts):
    """Principal components."""

    name: Literal["pca"]
    hidden: _OneWidth


class GanFacts(NetworkFacts):
    """An adversarial autoencoder."""

    name: Literal["gan"]
    hidden: _Widths
    adversarial: float = Field(
        ge=0, description="Weight of the discriminator's features in training."
    )
    latent: float = Field(ge=0, description="Weight of the latent difference in training.")


class EnsembleFacts(NetworkFacts):
    """Small autoencoders over groups of inputs, and one over their errors."""

    name: Literal["ensemble"]
    groups: tuple[_Width, ...] = Field(min_length=1, description="Inputs of each group.")
    hidden: _OneWidth


AnyNetworkFacts = Annotated[
    DenseFacts | SimpleFacts | DenoisingFacts | VaeFacts | PcaFacts | GanFacts | EnsembleFacts,
    Field(discriminator="name"),
]


def network_facts(name: str, hyperparameters: Mapping[str, Any]) -> AnyNetworkFacts:
    """Facts of the network of this name."""
    facts: AnyNetworkFacts = TypeAdapter(AnyNetworkFacts).validate_python(
        {"name": name, **hyperparameters}
    )
    return facts


class CalibrationFacts(BaseModel):
    """The budget, and the tail of normal errors that turns it into a threshold.

    The held-back errors themselves are the tensor `calibration.errors` of the weights file, so
    that the threshold can be moved later without retraining.
    """

    model_config = _STRICT

    false_alarm_rate: float = Field(gt=0, lt=1)
    threshold: float = Field(description="The error this budget gives; recomputed on load.")
    vectors: int = Field(ge=1, description="Held-back normal vectors it was calibrated on.")
    tail_start: float
    tail_share: float = Field(gt=0, le=1)
    tail_shape: float
    tail_scale: float = Field(gt=0)
    tail_fit_p_value: float = Field(
        ge=0, le=1, description="How likely the peaks would fit this badly, were the tail true."
    )


class TrainingFacts(BaseModel):
    """What was trained on what."""

    model_config = _STRICT

    source: str = Field(description="Name of the training file, without its folder.")
    trained_at: str = Field(description="UTC, ISO 8601.")
    assumption: str = Field(description="Why the rows count as normal.")
    vectors: int = Field(ge=1, description="Vectors the network was fitted on.")
    vectors_held_back: int = Field(ge=1)
    left_out: int = Field(
        default=0, ge=0, description="Vectors left out as feared attacks (--contamination)."
    )
    rejected: int = Field(ge=0, description="Rows that were no vectors of the spec.")
    seed: int
    epochs: int
    best_epoch: int
    seconds: float


class Manifest(BaseModel):
    """`manifest.json` of a bundle."""

    model_config = _STRICT

    format_version: Literal[2] = 2
    bundle_id: str = Field(
        pattern=r"^[0-9a-f]{16}$",
        description="From everything else in here, the weights by their hash.",
    )
    spec: FeatureSpec
    spec_sha256: str
    vocabularies: dict[str, tuple[str, ...]] = Field(
        description="Known values of each categorical feature; code i is the i-th, counted from 1."
    )
    network: AnyNetworkFacts
    calibration: CalibrationFacts
    training: TrainingFacts
    libraries: dict[str, str]
    weights_sha256: str
