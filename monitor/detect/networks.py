"""The networks that reconstruct vectors.

The default is a dense autoencoder (Hinton & Salakhutdinov, "Reducing the Dimensionality of Data
with Neural Networks", Science 2006): an encoder narrows the input to a bottleneck, a decoder widens
it again. Trained on normal traffic only, it learns the dependencies between features that normal
traffic obeys; what breaks them is reconstructed badly.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn


class DenseAutoencoder(nn.Module):
    """Mirror-image multilayer perceptron with ReLU between layers and linear outputs.

    Args:
        inputs: d, the width of a transformed vector.
        hidden: widths from the first encoder layer down to the bottleneck, which comes last.
    """

    name = "dense"

    def __init__(self, inputs: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.hidden = tuple(hidden)
        widths = [inputs, *hidden]
        self.encoder = _perceptron(widths)
        self.decoder = _perceptron(widths[::-1])

    def forward(self, z: Tensor) -> Tensor:
        latent = self.encoder(z)  # (n, d) -> (n, bottleneck)
        return self.decoder(latent)  # type: ignore[no-any-return]  # (n, bottleneck) -> (n, d)


def _perceptron(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers of these widths, ReLU between them and none after the last."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def default_hidden(inputs: int) -> tuple[int, ...]:
    """Encoder widths for d inputs: the power of two from d up, its half, and its quarter.

    Bounded below so that a handful of features still has a bottleneck, and above so that a
    thousand features stay affordable on a CPU.
    """
    first = min(max(1 << (inputs - 1).bit_length(), 8), 512)
    return (first, first // 2, first // 4)
