"""DaSS's accuracy predictor and its meta-training: one step from the teacher's own accuracy to a new task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nasbench_kd.errors import DataError
from nasbench_kd.files import atomic_write
from nasbench_kd_baselines.dass.embeddings import LEVELS, Embeddings, one_hot

Weights = dict[str, Any]
"""Tensors by name; `rate NAME` is the learned step size of every element of `NAME`."""
PARTS = ("student", "cell", "teacher")
"""What the predictor sees; `fresh` in the place of `student` is the control without inherited weights."""
_SIZES = {"student": 2 * LEVELS, "fresh": 2 * LEVELS, "cell": 30, "teacher": 2 * LEVELS}
_HIDDEN = 32


@dataclass(frozen=True)
class LabelledTask:
    """A task with students whose accuracy is known, shape (n,), in percent."""

    embeddings: Embeddings
    accuracies: npt.NDArray[np.float64]

    @property
    def labels(self) -> npt.NDArray[np.float64]:
        """The share of the task's students that a student surpasses, 0..1: comparable between tasks."""
        from scipy.stats import rankdata

        return np.asarray((rankdata(self.accuracies) - 0.5) / len(self.accuracies))


def first_weights(seed: int, parts: Sequence[str] = PARTS, rate: float = 0.005) -> Weights:
    """Draw the predictor's weights (uniform within 1/sqrt(inputs)); every step size starts at `rate`.

    Each part goes through a linear layer to 32; the concatenation through Linear, tanh and Linear, as
    in the paper, with half its width. The paper has two convolutions for each map: see `describe`.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    layers = [(part, _HIDDEN, _SIZES[part]) for part in parts]
    layers += [("head", _HIDDEN, _HIDDEN * len(parts)), ("out", 1, _HIDDEN)]
    weights: Weights = {}
    for name, outputs, size in layers:
        bound = size**-0.5
        weights[f"{name} weight"] = (2 * torch.rand((outputs, size), generator=generator) - 1) * bound
        weights[f"{name} bias"] = (2 * torch.rand(outputs, generator=generator) - 1) * bound
    weights.update({f"rate {name}": torch.full_like(value, rate) for name, value in weights.items()})
    return weights


def student_inputs(embeddings: Embeddings) -> dict[str, Any]:
    """What the predictor sees of each student, tensors (n, inputs) by part.

    Descriptions are standardised within the task, so that teachers of any scale compare.
    """
    import torch

    fresh, _ = _standardised(embeddings.fresh, embeddings.fresh)
    students, teacher = _standardised(embeddings.students, embeddings.teacher_description)
    return {
        "student": students,
        "fresh": fresh,
        "cell": torch.as_tensor(one_hot(embeddings.cells)),
        "teacher": teacher.expand(len(students), -1),
    }


def teacher_inputs(embeddings: Embeddings) -> dict[str, Any]:
    """What it sees of the teacher as its own student, tensors (1, inputs) by part."""
    import torch

    _, teacher = _standardised(embeddings.students, embeddings.teacher_description)
    cell = torch.as_tensor(one_hot(np.array([embeddings.teacher])))
    return {"student": teacher, "fresh": teacher, "cell": cell, "teacher": teacher}


def forward(weights: Weights, inputs: dict[str, Any]) -> Any:
    """Predicted labels, shape (n,), from the parts of `inputs` that the weights are for."""
    import torch
    import torch.nn.functional as F

    vectors = [
        F.linear(values, weights[f"{part} weight"], weights[f"{part} bias"])
        for part, values in inputs.items()
        if f"{part} weight" in weights
    ]
    hidden = torch.tanh(F.linear(torch.cat(vectors, 1), weights["head weight"], weights["head bias"]))
    return F.linear(hidden, weights["out weight"], weights["out bias"])[:, 0]


def adapt(weights: Weights, embeddings: Embeddings, create_graph: bool = False) -> Weights:
    """Take one step of the learned sizes on the squared error of the pair (teacher, its accuracy).

    The accuracy counts from chance (0) to 1, so that tasks of few and of many classes compare.
    """
    import torch

    names = [name for name in weights if not name.startswith("rate ")]
    if not create_graph:
        weights = {name: value.detach().requires_grad_() for name, value in weights.items()}
    chance = 1 / embeddings.classes
    target = (embeddings.teacher_accuracy / 100 - chance) / (1 - chance)
    loss = (forward(weights, teacher_inputs(embeddings)) - target).square().mean()
    slopes = torch.autograd.grad(loss, [weights[name] for name in names], create_graph=create_graph)
    return {
        name: weights[name] - weights[f"rate {name}"] * slope
        for name, slope in zip(names, slopes, strict=True)
    }


def predict(weights: Weights, embeddings: Embeddings, *, adapting: bool = True) -> npt.NDArray[np.float64]:
    """Adapt to the teacher, unless told not to, and predict the labels of all its students, shape (n,)."""
    outputs = forward(adapt(weights, embeddings) if adapting else weights, student_inputs(embeddings))
    return np.asarray(outputs.detach().numpy(), dtype=float)


def predict_cells(weights: Weights, cells: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Predict the labels of architectures, one-hot (n, choices), where no teacher is known, without adapting, (n,).

    Raises `DataError` for a predictor that sees more than the architecture, or was trained in another space.
    """
    import torch

    more = [part for part in ("student", "fresh", "teacher") if f"{part} weight" in weights]
    if more:
        raise DataError(
            f"the predictor needs embeddings ({' and '.join(more)}): make them with "
            "`python -m nasbench_kd_baselines.dass.training embed`"
        )
    if weights["cell weight"].shape[1] != cells.shape[1]:
        raise DataError(
            f"the predictor was trained on architectures of {weights['cell weight'].shape[1]} choices, and this space "
            f"has {cells.shape[1]}: train one for it with `python -m nasbench_kd_baselines.dass.training train`"
        )
    inputs = {"cell": torch.as_tensor(cells.astype(np.float32))}
    return np.asarray(forward(weights, inputs).numpy(), dtype=float)


def meta_train(
    tasks: Sequence[LabelledTask],
    validation: Sequence[LabelledTask],
    *,
    seed: int = 0,
    episodes: int = 200,
    students: int = 50,
    learning_rate: float = 2e-3,
    validate_every: int = 20,
    parts: Sequence[str] = PARTS,
    adapting: bool = True,
    progress: Callable[[int, float], None] = lambda *_: None,
) -> Weights:
    """Learn first weights and step sizes from which one step on the teacher fits a task's students.

    In each episode, for every task: adapt to the teacher, and take the squared error on `students`
    random students against their labels; the mean over all of them is one step of Adam, through the
    adaptation (second order). Returns the weights of the episode with the highest Spearman
    correlation on the validation tasks, a mean that counts each by its students. The paper's
    constants are 1000 episodes at 5e-4; the smaller network has converged after 200 at 2e-3. Without `adapting`
    the weights are fitted to all tasks at once, with no step to a teacher: the control without meta-learning.
    """
    import torch

    rng = np.random.default_rng(seed)
    weights = {name: value.requires_grad_() for name, value in first_weights(seed, parts).items()}
    optimizer = torch.optim.Adam(list(weights.values()), lr=learning_rate)
    inputs = [student_inputs(task.embeddings) for task in tasks]
    labels = [torch.as_tensor(task.labels, dtype=torch.float32) for task in tasks]
    best, kept = -np.inf, weights
    for episode in range(1, episodes + 1):
        losses = []
        for task, values, wanted in zip(tasks, inputs, labels, strict=True):
            rows = torch.from_numpy(rng.permutation(len(wanted))[:students])
            adapted = adapt(weights, task.embeddings, create_graph=True) if adapting else weights
            predicted = forward(adapted, {part: value[rows] for part, value in values.items()})
            losses.append((predicted - wanted[rows]).square())
        optimizer.zero_grad()
        torch.autograd.backward(torch.cat(losses).mean())
        optimizer.step()
        if episode % validate_every == 0:
            found = [
                correlation(predict(weights, task.embeddings, adapting=adapting), task.accuracies)
                for task in validation
            ]
            mean = float(np.average(found, weights=[len(task.accuracies) for task in validation]))
            progress(episode, mean)
            if mean > best:
                best = mean
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
            "`python -m nasbench_kd_baselines.dass.training train`"
        ) from error
    if "out weight" not in weights:
        raise DataError(f"{path} holds no DaSS predictor, but {', '.join(weights) or 'nothing'}")
    return weights


def _standardised(students: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> tuple[Any, Any]:
    import torch

    mean, spread = students.mean(0), students.std(0) + 1e-3
    both = [np.clip((values - mean) / spread, -5, 5) for values in (students, np.atleast_2d(other))]
    return torch.as_tensor(both[0]), torch.as_tensor(both[1])
