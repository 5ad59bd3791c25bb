"""The family of networks that reconstruct vectors: one file each, all of one contract.

network = NETWORKS["dense"].design(inputs, chunks)
again = NETWORKS[network.name](inputs, **network.hyperparameters())
"""

from types import MappingProxyType

from monitor.detect.networks.base import Network
from monitor.detect.networks.dense import DenseAutoencoder

NETWORKS = MappingProxyType({network.name: network for network in (DenseAutoencoder,)})
"""By name; the first is the default."""

__all__ = ["NETWORKS", "Network"]
