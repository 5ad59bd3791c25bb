"""Many small autoencoders and one over their errors, after Kitsune's KitNET.

Mirsky, Doitshman, Elovici & Shabtai, "Kitsune: An Ensemble of Autoencoders for Online Network
Intrusion Detection", NDSS 2018. Inputs that go together (hierarchical clustering by correlation)
form groups of at most ten; each group has its autoencoder, and an output autoencoder learns which
of their errors normally come together. Here the groups are padded to one width and computed as one
block, whatever their number.
"""

from collections.abc import Iterable, Sequence
from math import sqrt
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from monitor.detect.networks.base import Network, ReconstructionError, moments, one_width

if TYPE_CHECKING:
    from scipy.cluster.hierarchy import ClusterNode

MAX_GROUP = 10
HIDDEN_SHARE = 0.75
"""Latent units for each input of a group, and of the output autoencoder; as in the paper."""


class AutoencoderEnsemble(Network):
    """g autoencoders of one hidden layer over up to w inputs each, and an output autoencoder.

    Args:
        inputs: d, the width of a transformed vector.
        groups: sizes of the groups; together d.
        hidden: the one width of each member's hidden layer, padded to the largest.
    """

    name = "ensemble"
    index: Tensor
    place: Tensor
    present: Tensor
    alive: Tensor

    def __init__(self, inputs: int, groups: Sequence[int], hidden: Sequence[int]) -> None:
        super().__init__()
        self.groups, self.hidden = tuple(groups), tuple(hidden)
        g, w, h = len(self.groups), max(self.groups), self.hidden[0]
        self.penalties = g
        sizes = torch.tensor(self.groups)[:, None]  # (g, 1)
        present = torch.arange(w) < sizes  # (g, w): padding reads input 0, but counts for nothing
        alive = torch.arange(h) < (sizes * HIDDEN_SHARE).int().clamp(min=1)  # (g, h)
        self.register_buffer("present", present, persistent=False)
        self.register_buffer("alive", alive, persistent=False)
        self.register_buffer("index", torch.zeros(g, w, dtype=torch.int64))
        self.register_buffer("place", torch.zeros(inputs, dtype=torch.int64))
        self.down, self.down_bias = _uniform(g, w, h), _uniform(g, h)
        self.up, self.up_bias = _uniform(g, h, w), _uniform(g, w)
        over = max(int(g * HIDDEN_SHARE), 1)
        self.output = nn.Sequential(nn.Linear(g, over), nn.Tanh(), nn.Linear(over, g))

    @classmethod
    def design(
        cls, inputs: int, chunks: Iterable[Tensor], hidden: Sequence[int] | None = None
    ) -> Self:
        groups = _cluster(_distances(moments(chunks)[1].cpu().numpy()))
        sizes = [len(group) for group in groups]
        network = cls(
            inputs, sizes, (one_width(cls.name, hidden) or max(int(max(sizes) * HIDDEN_SHARE), 1),)
        )
        network.index[network.present] = torch.tensor([i for group in groups for i in group])
        network.place[network.index[network.present]] = network.present.flatten().nonzero()[:, 0]
        return network

    def encode(self, z: Tensor) -> Tensor:
        grouped = z[:, self.index] * self.present  # (n, d) -> (n, g, w)
        latent = torch.einsum("ngw,gwh->ngh", grouped, self.down) + self.down_bias
        return (latent.tanh() * self.alive).flatten(1)  # (n, g, h) -> (n, g * h)

    def decode(self, latent: Tensor) -> Tensor:
        members = latent.view(-1, *self.alive.shape)  # (n, g * h) -> (n, g, h)
        grouped = torch.einsum("ngh,ghw->ngw", members, self.up) + self.up_bias
        return grouped.flatten(1)[:, self.place]  # (n, g, w) -> (n, d)

    def objective(self, player: int, z: Tensor, error: ReconstructionError) -> Tensor:
        reconstruction = self(z)
        beyond = self.penalise(z, reconstruction.detach()).mean()
        return error(reconstruction).mean() + beyond  # of separate weights, hence independent

    def penalise(self, z: Tensor, reconstruction: Tensor) -> Tensor:
        """What the output autoencoder does not expect of the members' errors, (n, g)."""
        squared = (reconstruction - z).square()[:, self.index] * self.present  # (n, g, w)
        errors = (squared.sum(dim=2) / self.present.sum(dim=1)).sqrt()  # (n, g)
        expected: Tensor = self.output(errors)
        return (expected - errors).square()

    def hyperparameters(self) -> dict[str, Any]:
        return {"groups": self.groups, "hidden": self.hidden}


def _uniform(groups: int, *shape: int) -> nn.Parameter:
    """Weights that start as those of a linear layer do, for every group."""
    bound = 1 / sqrt(shape[0])
    return nn.Parameter(torch.empty(groups, *shape).uniform_(-bound, bound))


def _distances(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """(d, d): 1 - |correlation|; an input that never varies is far from all others."""
    deviation = np.sqrt(covariance.diagonal().clip(0))
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = np.nan_to_num(covariance / np.outer(deviation, deviation), posinf=0.0)
    distances: NDArray[np.float64] = 1 - np.abs(correlation).clip(0, 1)
    distances = (distances + distances.T) / 2  # rounding has made it slightly askew
    np.fill_diagonal(distances, 0)
    return distances


def _cluster(distances: NDArray[np.float64]) -> list[list[int]]:
    """Inputs in groups: the largest branches of the tree that are small enough.

    Small neighbours are joined as far as they fit, since a group of one has nothing to learn.
    """
    # Only training needs it, and importing it takes a tenth of the daemon's start.
    from scipy.cluster.hierarchy import linkage, to_tree
    from scipy.spatial.distance import squareform

    if len(distances) == 1:
        return [[0]]
    groups: list[list[int]] = [[]]
    for branch in _branches(to_tree(linkage(squareform(distances), "average"))):
        if len(groups[-1]) + len(branch) > MAX_GROUP:
            groups.append([])
        groups[-1] += branch
    return groups


def _branches(root: "ClusterNode") -> Iterable[list[int]]:
    """In the order of the tree; without recursion, for a chain may be as deep as it is long."""
    pending = [root]
    while pending:
        node = pending.pop()
        if node.get_count() <= MAX_GROUP:
            yield node.pre_order()
        else:
            pending += [node.get_right(), node.get_left()]
