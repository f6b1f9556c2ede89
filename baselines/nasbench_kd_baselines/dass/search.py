"""DaSS-style search: a meta-learned predictor, adapted to the teacher, says which students to train."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from nasbench_kd.benchmark.evaluation import Evaluation
from nasbench_kd.errors import MissingDependencyError, MissingEntryError, ProtocolError
from nasbench_kd.simulation.optimizer import Optimizer, Query, SearchView
from nasbench_kd.simulation.parameters import a_fidelity, parameter, with_parameters
from nasbench_kd_baselines.common.fidelities import distilled_fidelities
from nasbench_kd_baselines.dass.embeddings import Embeddings

PREDICTORS = Path(__file__).parent / "predictors"
"""Predictors by the task that they never saw, each with its card (`TASK.json`)."""


@with_parameters
class DaSS(Optimizer):
    """Distillation-aware student search (Lee, An, Kim and Hwang, ICLR 2023).

    The predictor sees the student (the map that it makes of a noise image after inheriting the
    teacher's weights), its cell, and the teacher; one gradient step on the teacher's own accuracy
    adapts it to the task. The embedded students are then trained in the order of their predicted
    accuracy: the paper trains the first; a search with budget left goes on down the list, then
    with random cells. What is charged is the trainings and the teacher; embedding and predicting
    are the optimizer's own time. Meta-training is charged to nobody, as in the paper: the shipped
    predictors learned from 200-epoch accuracies of the other data sets. On an unseen data set they rank
    students with a Spearman correlation of 0.91; without the teacher and the inherited weights it is
    0.91 as well, and 0.88 with the cell alone (docs/dass.md). Needs PyTorch.

    Args:
        embeddings: file of the task's embeddings, by `python -m nasbench_kd_baselines.dass.training embed`, which
            needs the teacher's weights. Without one the cells are ranked by the shipped predictor that
            sees nothing else and is not adapted: a control, no DaSS, and to be reported as
            "DaSS, cells alone".
        predictor: file of a trained predictor, by `python -m nasbench_kd_baselines.dass.training train`; by default
            the shipped one that was not trained on the task's data set.
        fidelity: how students are trained; by default the dearest distilled one that the task has.
    """

    paper = "Lee, An, Kim and Hwang, ICLR 2023"
    prerequisites = ("teacher",)
    given = ("predictor that was meta-trained on other data sets",)
    embeddings: str | None = None
    predictor: str | None = None
    fidelity: str | None = parameter(None, a_fidelity)

    def setup(self, view: SearchView, rng: np.random.Generator) -> None:
        """Adapt the predictor and rank the students.

        Raises `DataError` on the files, `ProtocolError` where the embeddings are another task's,
        `MissingEntryError` where there is no distilled fidelity or no predictor.
        """
        super().setup(view, rng)
        file = self._predictor(view.task)
        named = self.fidelity
        self.trained = distilled_fidelities(view)[-1] if named is None else view.fidelity(named)
        try:
            cells, predicted = self._predict(view.task, file)
        except ImportError as error:
            raise MissingDependencyError("DaSS needs PyTorch: pip install 'nasbench-kd[live]'") from error
        order = np.argsort(-np.round(predicted, 4), kind="stable")
        self.order: list[int] = cells[order].tolist()
        self.asked: set[int] = set()

    def ask(self) -> Query:
        """Return the best student that was not trained yet."""
        while self.order:
            cell = self.order.pop(0)
            if cell not in self.asked:
                return self._query(cell)
        cell = self.random_cell().index
        while cell in self.asked and len(self.asked) < len(self.view.space):
            cell = self.random_cell().index
        return self._query(cell)

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        """Keep the best."""
        self.keep_best(query, evaluation)

    def _predictor(self, task: str) -> str | Path:
        """The predictor's file; raises `MissingEntryError` where none ships for the task and none is named."""
        shipped = PREDICTORS / f"{task}{'-cells' if self.embeddings is None else ''}.npz"
        if self.predictor is None and not shipped.exists():
            known = sorted(path.stem for path in PREDICTORS.glob("*.json"))
            raise MissingEntryError(
                f"no predictor of DaSS ships for the task {task}; there are those of {', '.join(known)}. Take one of "
                "these tasks, or train a predictor (`python -m nasbench_kd_baselines.dass.training train`) and name "
                "its file (argument `predictor`)"
            )
        return self.predictor or shipped

    def _predict(self, task: str, file: str | Path) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        from nasbench_kd_baselines.dass.predictor import load_weights, predict, predict_cells

        if self.embeddings is None:
            cells = self.view.space.representatives
            return cells, predict_cells(load_weights(file), self.view.space.one_hot[cells])
        embeddings = Embeddings.load(self.embeddings)
        if embeddings.task != task:
            raise ProtocolError(
                f"{self.embeddings} has embeddings of {embeddings.task}, and the task is {task}: name the file "
                "that belongs to it"
            )
        return embeddings.cells, predict(load_weights(file), embeddings)

    def _query(self, cell: int) -> Query:
        self.asked.add(cell)
        return Query(self.view.space[cell], self.trained)
