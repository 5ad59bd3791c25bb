"""Fitting: normal vectors in, a calibrated detector out.

The network learns to make a robust error small: the mean over the features of log(1 + e / s), e
being a squared error, which is the negative log-likelihood of a Cauchy residual up to constants
(the Lorentzian loss; Black & Rangarajan, IJCV 1996). Then the training vectors show how large each
feature's error usually is. Part of the vectors is held back: it decides when to stop, and it
calibrates the threshold. Choosing among a few dozen epochs by a mean hardly biases the tail, and
one larger held-back part pins the tail better than two small ones.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monitor.batch import Matrix
from monitor.detect.calibration import MIN_CALIBRATION_VECTORS, Calibration
from monitor.detect.detector import SCORING_CHUNK, Detector
from monitor.detect.model import ReconstructionModel, limited, mean_of_members
from monitor.detect.networks import Network, dense_class, network_class
from monitor.detect.preprocess import Preprocessor
from monitor.detect.vocabularies import Vocabulary, keep_frequent, recoded
from monitor.errors import DataError
from monitor.features import FeatureSpec

MIN_VECTORS = 4 * MIN_CALIBRATION_VECTORS
WORTH_SHARING_FEATURES = 500
COARSE_HIDDEN = (2,)
COARSE_STEPS = 300
MAX_FIT_VECTORS = 200_000
"""Quantiles hardly gain from more, and their sorting takes several times the vectors' memory."""
DAMPING = 1.0
"""Squared deviations from which an error is damped in training: the few wild values of heavy-tailed
traffic do not decide the weights."""


@dataclass(frozen=True, slots=True)
class FitOptions:
    """How to train. The defaults suit ten thousand to a million vectors of 8 to 1,024 inputs.

    Attributes:
        network: its name in `NETWORKS`.
        hidden: encoder widths down to the bottleneck; None derives them from the inputs.
        members: of a dense network; None takes its default. Scoring costs a multiple of them.
        held_back: share of the vectors that is not trained on.
        contamination: share of the vectors that is feared to be attacks; so many are left out.
    """

    seed: int = 0
    false_alarm_rate: float = 0.001
    hidden: tuple[int, ...] | None = None
    held_back: float = 0.25
    batch_size: int = 256
    learning_rate: float = 2e-3
    min_steps: int = 2_000
    max_steps: int = 5_000
    max_epochs: int = 40
    patience: int = 15
    device: str = "cpu"
    network: str = "dense"
    contamination: float = 0.0
    members: int | None = None


@dataclass(slots=True)
class History:
    """What happened: one entry an epoch, and when the best was."""

    training_loss: list[float] = field(default_factory=list)
    held_back_loss: list[float] = field(default_factory=list)
    best_epoch: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)

    @property
    def epochs(self) -> int:
        return len(self.held_back_loss)


@dataclass(frozen=True, slots=True)
class Fitted:
    """A detector, and what its report shows.

    Attributes:
        held_back: (k, f) the vectors that calibrated it.
        left_out: how many vectors `contamination` cost.
    """

    detector: Detector
    history: History
    trained_vectors: int
    held_back: Matrix
    left_out: int = 0


Progress = Callable[[int, int, float], None]
"""Called with the step, the number of steps and the latest held-back loss."""


def fit(
    spec: FeatureSpec,
    values: Matrix,
    vocabularies: Sequence[Vocabulary],
    options: FitOptions,
    progress: Progress = lambda *_: None,
) -> Fitted:
    """Train on (n, f) normal vectors in spec order, categorical as codes of `vocabularies`.

    The same options, vectors and machine give the same weights.

    Raises:
        DataError: too few vectors.
    """
    if len(values) < MIN_VECTORS:
        raise DataError(
            f"training needs at least {MIN_VECTORS} normal vectors, there are {len(values)}: "
            "give more data."
        )
    given = len(values)
    if options.contamination:
        values = _trimmed(spec, values, vocabularies, options)
    values = np.random.default_rng(options.seed).permutation(values)  # the one copy of them
    vocabularies = keep_frequent(spec, values, vocabularies)
    held_back_count = max(round(len(values) * options.held_back), MIN_CALIBRATION_VECTORS)
    held_back, training = values[:held_back_count], values[held_back_count:]
    with torch.random.fork_rng(), _few_threads(values.shape[1]):
        torch.manual_seed(options.seed)
        model = _build(spec, vocabularies, training, options).to(options.device)
        history = _train(
            model, torch.from_numpy(training), torch.from_numpy(held_back), options, progress
        )
    device = model.membership.device
    usual = _errors(model.squared_errors, training[:MAX_FIT_VECTORS], device)
    model.surprise.fit(usual, model.preprocessor.features)
    errors = _errors(model, held_back, device).cpu().numpy()
    detector = Detector(
        spec, vocabularies, model, Calibration.fit(errors), options.false_alarm_rate, options.device
    )
    # A copy of the held-back ones lets go of the others.
    return Fitted(detector, history, len(training), held_back.copy(), given - len(values))


def _trimmed(
    spec: FeatureSpec, values: Matrix, vocabularies: Sequence[Vocabulary], options: FitOptions
) -> Matrix:
    """(n, f) vectors without those that a first, coarse network reconstructs worst.

    Two latent units have room for what most vectors have in common and for nothing else (trimmed
    loss: Shen & Sanghavi, "Learning with Bad Training Data via Iterative Trimmed Loss
    Minimization", ICML 2019; the coarse network in place of their iterations).
    """
    coarse = replace(
        options,
        contamination=0.0,
        network="dense",
        hidden=COARSE_HIDDEN,
        min_steps=COARSE_STEPS,
        max_steps=COARSE_STEPS,
    )
    detector = fit(spec, values, vocabularies, coarse).detector
    again = recoded(spec, values, vocabularies, detector.vocabularies)
    errors = _errors(partial(_robust_errors_of, detector.model), again, detector.device)
    kept = len(values) - round(len(values) * options.contamination)
    return values[np.sort(np.argsort(errors.cpu().numpy(), kind="stable")[:kept])]


@contextmanager
def _few_threads(features: int) -> Iterator[None]:
    """One thread for small networks, whose mini-batches are too little work to share.

    Several would mostly wait for each other, and on a busy machine train many times slower.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1 if features <= WORTH_SHARING_FEATURES else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _build(
    spec: FeatureSpec,
    vocabularies: Sequence[Vocabulary],
    training: Matrix,
    options: FitOptions,
) -> ReconstructionModel:
    preprocessor = Preprocessor(spec, [len(words) for words in vocabularies])
    preprocessor.fit(training[:MAX_FIT_VECTORS])  # they are in random order
    chunks = _Inputs(preprocessor.to(options.device), torch.from_numpy(training))
    inputs, hidden = preprocessor.inputs, options.hidden
    network: Network
    if options.members:
        network = dense_class(options.network).design(inputs, chunks, hidden, options.members)
    else:
        network = network_class(options.network).design(inputs, chunks, hidden)
    return ReconstructionModel(preprocessor, network)


@dataclass(frozen=True, slots=True)
class _Inputs:
    """Vectors as the network will see them, a chunk at a time."""

    preprocessor: Preprocessor
    vectors: Tensor

    @torch.no_grad()
    def __iter__(self) -> Iterator[Tensor]:
        device = self.preprocessor.source.device
        for part in torch.split(self.vectors, SCORING_CHUNK):
            yield limited(self.preprocessor(part.to(device)))


def _train(
    model: ReconstructionModel,
    training: Tensor,
    held_back: Tensor,
    options: FitOptions,
    progress: Progress,
) -> History:
    """Let the players lower their objectives in turn; leaves the model at its best epoch."""
    device = model.membership.device
    training, held_back = training.to(device), held_back.to(device)
    steps_per_epoch = -(-len(training) // options.batch_size)
    steps = min(max(options.max_epochs * steps_per_epoch, options.min_steps), options.max_steps)
    history = History()
    if not (players := _players(model.network, options, steps)):
        _evaluate(model, held_back, _mean_error(model, training), history)
        return history
    evaluate_every = max(steps_per_epoch, 50)
    losses: list[Tensor] = []
    for step, batch in enumerate(_batches(training, options.batch_size, steps), start=1):
        losses.append(_step(model, players, batch))
        if step % evaluate_every == 0 or step == steps:
            _evaluate(model, held_back, float(torch.stack(losses).mean()), history)
            losses.clear()
            progress(step, steps, history.held_back_loss[-1])
            if history.epochs - history.best_epoch > options.patience:
                break
    model.network.load_state_dict(history.best)
    return history


@dataclass(frozen=True, slots=True)
class _Player:
    """One side of a network, with an objective of its own."""

    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler

    def descend(self, loss: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.schedule.step()


def _players(network: Network, options: FitOptions, steps: int) -> list[_Player]:
    players = []
    for parameters in network.players():
        optimizer = torch.optim.AdamW(parameters, lr=options.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.learning_rate, steps + 1)
        players.append(_Player(optimizer, schedule))
    return players


def _step(model: ReconstructionModel, players: Sequence[_Player], batch: Tensor) -> Tensor:
    """Every player's turn on (n, f) vectors; returns the loss of the first."""
    z = model.preprocessor(batch)
    losses = []
    for number, player in enumerate(players):
        loss = model.network.objective(
            number, limited(z), lambda found: _robust_errors(model, found, z)
        )
        player.descend(loss)
        losses.append(loss.detach())
    return losses[0]


def _robust_errors(model: ReconstructionModel, reconstruction: Tensor, z: Tensor) -> Tensor:
    """([m,] n, d) reconstruction and (n, d) target to ([m,] n) errors, without penalties."""
    return torch.log1p(model.by_feature((reconstruction - z).square()) / DAMPING).mean(dim=-1)


def _batches(vectors: Tensor, size: int, count: int) -> Any:
    """`count` shuffled mini-batches, epoch after epoch."""
    given = 0
    while given < count:
        order = torch.randperm(len(vectors)).to(vectors.device)
        for indices in torch.split(order, size)[: count - given]:
            yield vectors[indices]
            given += 1


def _evaluate(
    model: ReconstructionModel, held_back: Tensor, training_loss: float, history: History
) -> None:
    loss = _mean_error(model, held_back)
    history.training_loss.append(training_loss)
    history.held_back_loss.append(loss)
    if not history.best or loss < history.held_back_loss[history.best_epoch - 1]:
        history.best_epoch = history.epochs
        history.best = {k: v.detach().clone() for k, v in model.network.state_dict().items()}


def _mean_error(model: ReconstructionModel, vectors: Tensor) -> float:
    """Of (n, f) vectors, without penalties: their scale is not known yet."""
    parts = torch.split(vectors, SCORING_CHUNK)
    return sum(float(_robust_errors_of(model, part).sum()) for part in parts) / len(vectors)


@torch.no_grad()
def _robust_errors_of(model: ReconstructionModel, vectors: Tensor) -> Tensor:
    """(n, f) vectors to their (n,) robust errors, the mean of the members'."""
    z = model.preprocessor(vectors)
    return mean_of_members(_robust_errors(model, model.network(limited(z)), z), axes=1)


@torch.inference_mode()
def _errors(of: Callable[[Tensor], Tensor], vectors: Matrix, device: torch.device) -> Tensor:
    """(n, f) vectors to their (n, ...) errors, a chunk at a time."""
    parts = torch.split(torch.from_numpy(vectors), SCORING_CHUNK)
    return torch.cat([of(part.to(device)) for part in parts])
