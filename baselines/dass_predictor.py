"""DaSS's accuracy predictor and its meta-training: one step from the teacher's own accuracy to a new task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from baselines.dass_embeddings import Embeddings
from nasbench_kd.errors import DataError
from nasbench_kd.files import atomic_write
from nasbench_kd.space import Cell

Weights = dict[str, Any]
"""Tensors by name; `rate NAME` is the learned step size of every element of `NAME`."""
PARTS = ("student", "cell", "teacher")
_CHANNELS, _HIDDEN = 64, 64


@dataclass(frozen=True)
class LabelledTask:
    """A task with students whose accuracy after distillation is known, shape (n,), in percent."""

    embeddings: Embeddings
    accuracies: npt.NDArray[np.float64]


def first_weights(seed: int, parts: Sequence[str] = PARTS, rate: float = 0.005) -> Weights:
    """Draw the predictor's weights (uniform within 1/sqrt(inputs)); every step size starts at `rate`.

    Maps go through two convolutions of stride 2 (64 -> 32 -> 64), ReLU and the mean over space;
    the one-hot cell through one linear layer; the three vectors of 64 through Linear, tanh and
    Linear: the paper's predictor with a quarter of its channels, as this space has 64 where the
    paper's has 256. `parts` leaves inputs out, for ablations.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    shapes: dict[str, tuple[int, ...]] = {}
    for part in ("student", "teacher"):
        if part in parts:
            shapes[f"{part} first"] = (_CHANNELS // 2, _CHANNELS, 3, 3)
            shapes[f"{part} second"] = (_CHANNELS, _CHANNELS // 2, 3, 3)
    if "cell" in parts:
        shapes["cell weight"], shapes["cell bias"] = (_HIDDEN, 30), (_HIDDEN,)
    shapes["head weight"], shapes["head bias"] = (_HIDDEN, _HIDDEN * len(parts)), (_HIDDEN,)
    shapes["out weight"], shapes["out bias"] = (1, _HIDDEN), (1,)
    weights: Weights = {}
    for name, shape in shapes.items():
        bound = 1 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 1 / np.sqrt(_HIDDEN)
        weights[name] = (2 * torch.rand(shape, generator=generator) - 1) * bound
    weights.update({f"rate {name}": torch.full(shape, rate) for name, shape in shapes.items()})
    return weights


def forward(weights: Weights, embeddings: Embeddings, rows: npt.NDArray[np.intp] | None) -> Any:
    """Predicted accuracies (0..1) of students at some rows, or of the teacher itself for None, (n,)."""
    import torch
    import torch.nn.functional as F

    def condense(part: str, maps: npt.NDArray[np.float16]) -> Any:
        hidden = F.relu(
            F.conv2d(torch.as_tensor(maps).float(), weights[f"{part} first"], stride=2, padding=1)
        )
        return F.relu(F.conv2d(hidden, weights[f"{part} second"], stride=2, padding=1)).mean((2, 3))

    cells = [embeddings.teacher] if rows is None else embeddings.cells[rows].tolist()
    vectors = []
    if "student first" in weights:
        vectors.append(
            condense("student", embeddings.teacher_map[None] if rows is None else embeddings.maps[rows])
        )
    if "cell weight" in weights:
        one_hot = np.array([Cell.from_index(cell).one_hot().ravel() for cell in cells], dtype=np.float32)
        vectors.append(F.linear(torch.as_tensor(one_hot), weights["cell weight"], weights["cell bias"]))
    if "teacher first" in weights:
        vectors.append(condense("teacher", embeddings.teacher_map[None]).expand(len(cells), -1))
    hidden = torch.tanh(F.linear(torch.cat(vectors, 1), weights["head weight"], weights["head bias"]))
    return F.linear(hidden, weights["out weight"], weights["out bias"])[:, 0]


def adapt(weights: Weights, embeddings: Embeddings, create_graph: bool = False) -> Weights:
    """Take one step of the learned sizes on the squared error of the pair (teacher, its accuracy)."""
    import torch

    names = [name for name in weights if not name.startswith("rate ")]
    if not create_graph:
        weights = {name: value.detach().requires_grad_() for name, value in weights.items()}
    loss = (forward(weights, embeddings, None) - embeddings.teacher_accuracy / 100).square().mean()
    slopes = torch.autograd.grad(loss, [weights[name] for name in names], create_graph=create_graph)
    return {
        name: weights[name] - weights[f"rate {name}"] * slope
        for name, slope in zip(names, slopes, strict=True)
    }


def predict(weights: Weights, embeddings: Embeddings) -> npt.NDArray[np.float64]:
    """Adapt to the teacher and predict all its students, in percent, shape (n,)."""
    outputs = forward(adapt(weights, embeddings), embeddings, np.arange(len(embeddings.cells)))
    return np.asarray(100 * outputs.detach().numpy(), dtype=float)


def meta_train(
    tasks: Sequence[LabelledTask],
    validation: Sequence[LabelledTask],
    *,
    seed: int = 0,
    episodes: int = 1000,
    students: int = 50,
    learning_rate: float = 5e-4,
    validate_every: int = 20,
    parts: Sequence[str] = PARTS,
    progress: Callable[[int, float], None] = lambda episode, correlation: None,
) -> Weights:
    """Meta-train as DaSS does: MAML with the teacher as the only shot, second order, learned step sizes.

    Every episode goes over all tasks: adapt to the teacher, then the squared error on `students`
    random ones; Adam on the mean. The weights of the best mean Spearman correlation on the
    validation tasks, looked at every `validate_every` episodes, are kept. The constants are the
    paper's code's.
    """
    import torch

    rng = np.random.default_rng(seed)
    weights = {name: value.requires_grad_() for name, value in first_weights(seed, parts).items()}
    optimizer = torch.optim.Adam(list(weights.values()), lr=learning_rate)
    best, kept = -np.inf, weights
    for episode in range(1, episodes + 1):
        losses = []
        for task in tasks:
            rows = rng.permutation(len(task.accuracies))[:students]
            predicted = forward(adapt(weights, task.embeddings, create_graph=True), task.embeddings, rows)
            wanted = torch.as_tensor(task.accuracies[rows] / 100, dtype=torch.float32)
            losses.append((predicted - wanted).square().mean())
        optimizer.zero_grad()
        torch.autograd.backward(torch.stack(losses).mean())
        optimizer.step()
        if episode % validate_every == 0:
            found = [correlation(predict(weights, task.embeddings), task.accuracies) for task in validation]
            progress(episode, float(np.mean(found)))
            if np.mean(found) > best:
                best = float(np.mean(found))
                kept = {name: value.detach().clone() for name, value in weights.items()}
    return {name: value.detach() for name, value in kept.items()}


def correlation(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> float:
    """Spearman's rank correlation."""
    from scipy.stats import spearmanr

    return float(spearmanr(first, second).statistic)


def save_weights(path: Path, weights: Weights) -> None:
    """Write a predictor as one .npz file, atomically."""
    with atomic_write(path) as file:
        np.savez_compressed(file, **{name: value.numpy() for name, value in weights.items()})


def load_weights(path: str | Path) -> Weights:
    """Read a predictor; raises `DataError` where the file is absent or something else."""
    import torch

    try:
        with np.load(path, allow_pickle=False) as arrays:
            weights = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} is not a readable DaSS predictor ({error}); train one with "
            "`python -m baselines.dass_training train`"
        ) from error
    if "out weight" not in weights:
        raise DataError(f"{path} holds no DaSS predictor, but {', '.join(weights) or 'nothing'}")
    return weights
