"""DaSS-style search: a meta-learned predictor, adapted to the teacher, says which students to train."""

from __future__ import annotations

import numpy as np

from baselines.dass_embeddings import Embeddings
from baselines.fidelities import distilled_fidelities
from nasbench_kd.benchmark import Evaluation
from nasbench_kd.errors import MissingDependencyError, ProtocolError
from nasbench_kd.fidelity import Fidelity
from nasbench_kd.optimizer import Optimizer, Query, SearchView
from nasbench_kd.space import SPACE_SIZE, Cell


class DaSS(Optimizer):
    """Distillation-aware student search (Lee, An, Kim and Hwang, ICLR 2023).

    The predictor sees the student (the map that it makes of a noise image after inheriting the
    teacher's weights), its cell, and the teacher; one gradient step on the teacher's own accuracy
    adapts it to the task. The embedded students are then trained in the order of their predicted
    accuracy: the paper trains the first; a search with budget left goes on down the list, then
    with random cells. What is charged is the trainings and the teacher; embedding and predicting
    are the optimizer's own time. Needs PyTorch.

    Args:
        embeddings: file of the task's embeddings, by `python -m baselines.dass_training embed`.
        predictor: file of a trained predictor, by `python -m baselines.dass_training train`.
        fidelity: how students are trained; by default the dearest distilled one that the task has.
    """

    paper = "Lee, An, Kim and Hwang, ICLR 2023"

    def __init__(self, embeddings: str, predictor: str, fidelity: str | None = None) -> None:
        self.files = (str(embeddings), str(predictor))
        self.fidelity = fidelity

    def setup(self, view: SearchView, rng: np.random.Generator) -> None:
        """Adapt the predictor and rank the students.

        Raises `DataError` on the files, `ProtocolError` where the embeddings are another task's,
        `MissingEntryError` where there is no distilled fidelity.
        """
        super().setup(view, rng)
        named = self.fidelity
        self.trained = distilled_fidelities(view)[-1] if named is None else Fidelity.parse(named)
        try:
            from baselines.dass_predictor import load_weights, predict

            embeddings = Embeddings.load(self.files[0])
            weights = load_weights(self.files[1])
        except ImportError as error:
            raise MissingDependencyError("DaSS needs PyTorch: pip install 'nasbench-kd[live]'") from error
        if embeddings.task != view.task:
            raise ProtocolError(
                f"{self.files[0]} has embeddings of {embeddings.task}, and the task is {view.task}: name the file "
                "that belongs to it"
            )
        predicted = np.round(predict(weights, embeddings), 4)
        order = np.argsort(-predicted, kind="stable")
        self.order: list[int] = embeddings.cells[order].tolist()
        self.asked: set[int] = set()

    def ask(self) -> Query:
        """Return the best student that was not trained yet."""
        while self.order:
            cell = self.order.pop(0)
            if cell not in self.asked:
                return self._query(cell)
        cell = self.random_cell().index
        while cell in self.asked and len(self.asked) < SPACE_SIZE:
            cell = self.random_cell().index
        return self._query(cell)

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        """Keep the best."""
        self.keep_best(query, evaluation)

    def _query(self, cell: int) -> Query:
        self.asked.add(cell)
        return Query(Cell.from_index(cell), self.trained)
