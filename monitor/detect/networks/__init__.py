"""The family of networks that reconstruct vectors: one file each, all of one contract.

network = NETWORKS["dense"].design(inputs, chunks)
again = NETWORKS[network.name](inputs, **network.hyperparameters())
"""

from collections.abc import Mapping
from types import MappingProxyType

from monitor.detect.networks.base import Network
from monitor.detect.networks.denoising import DenoisingAutoencoder
from monitor.detect.networks.dense import DenseAutoencoder
from monitor.detect.networks.ensemble import AutoencoderEnsemble
from monitor.detect.networks.gan import AdversarialAutoencoder
from monitor.detect.networks.pca import PrincipalComponents
from monitor.detect.networks.simple import SimpleAutoencoder
from monitor.detect.networks.vae import VariationalAutoencoder
from monitor.errors import SettingsError

_FAMILY: tuple[type[Network], ...] = (
    DenseAutoencoder,
    SimpleAutoencoder,
    DenoisingAutoencoder,
    VariationalAutoencoder,
    PrincipalComponents,
    AdversarialAutoencoder,
    AutoencoderEnsemble,
)
NETWORKS: Mapping[str, type[Network]] = MappingProxyType({c.name: c for c in _FAMILY})
"""By name; the first is the default."""


def network_class(name: str) -> type[Network]:
    """The network of this name.

    Raises:
        SettingsError: there is none.
    """
    if name not in NETWORKS:
        raise SettingsError(f"network {name!r}: no such network; there are {', '.join(NETWORKS)}.")
    return NETWORKS[name]


def dense_class(name: str) -> type[DenseAutoencoder]:
    """The network of this name, which can have any number of members.

    Raises:
        SettingsError: there is none, or it is always alone.
    """
    network = network_class(name)
    if not issubclass(network, DenseAutoencoder):
        able = ", ".join(c.name for c in _FAMILY if issubclass(c, DenseAutoencoder))
        raise SettingsError(f"--members: network {name} has no members; these have: {able}.")
    return network


__all__ = ["NETWORKS", "Network", "dense_class", "network_class"]
