"""arch2vec with reinforcement learning: a recurrent policy walks through embeddings of architectures."""

from __future__ import annotations

from typing import Any

import numpy as np

from nasbench_kd import WAIT, Evaluation, Optimizer, Query, SearchView
from nasbench_kd.simulation.optimizer import Wait
from nasbench_kd.simulation.parameters import a_fidelity, integer, parameter, real, with_parameters
from nasbench_kd.tasks.fidelity import TARGET
from nasbench_kd_baselines.arch2vec import embedded
from nasbench_kd_baselines.models.graph_autoencoder import import_torch


@with_parameters
class Arch2vecReinforce(Optimizer):
    """arch2vec with REINFORCE (Yan et al., NeurIPS 2020; code: AIoT-MLSys-Lab/arch2vec).

    An LSTM sees the embedding of the architecture before and gives the mean of a normal action of unit deviation;
    the unasked architecture nearest to the action follows. After an episode the policy takes one Adam step along the
    mean of log p(action) x (accuracy / 100 - baseline). As in the authors' code the LSTM forgets between
    episodes, the walk goes on, and rewards are not discounted (it computes a discount and drops it); unlike there,
    the very nearest architecture may be taken, where theirs begins with the second. Embeddings: see `Arch2vec`.
    Needs PyTorch.

    Args:
        fidelity: how every architecture is trained.
        episode: evaluations between two steps of the policy.
        units: of the LSTM.
        learning_rate: Adam's.
        baseline: reward from which an action counts as good, as a share.
        pretraining: see `Arch2vec`.
    """

    paper = "Yan et al., NeurIPS 2020"
    compared = "reports/one-shot/README.md"
    given = ("encoder of the space, 40 CPU-seconds",)
    fidelity: str = parameter(TARGET, a_fidelity)
    episode: int = parameter(16, integer(1))
    units: int = parameter(128, integer(1))
    learning_rate: float = parameter(0.01, real(above=0))
    baseline: float = parameter(0.4, real())
    pretraining: int | None = parameter(None, integer(1))

    def setup(self, view: SearchView, rng: np.random.Generator) -> None:
        """Embed the space and draw the first weights of the policy."""
        super().setup(view, rng)
        torch = import_torch()
        self.features = embedded(view, self.pretraining, twins=False)
        size = self.features.shape[1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            self.memory = torch.nn.LSTMCell(size, self.units, dtype=torch.double)
            self.head = torch.nn.Linear(self.units, size, dtype=torch.double)
        weights = [*self.memory.parameters(), *self.head.parameters()]
        self.adam = torch.optim.Adam(weights, lr=self.learning_rate)
        self.trained = view.fidelity(self.fidelity)
        self.unasked = np.zeros(len(view.space), dtype=bool)
        self.unasked[view.covered(self.trained)] = True
        self.known = self.unasked.copy()
        self.state = self.features[view.space.sample(rng).index]
        self._begin()

    def ask(self) -> Query | Wait:
        """Return the architecture nearest to the next action; wait for an episode's rewards before the next one."""
        if len(self.actions) == self.episode:
            return WAIT
        self.states.append(self.state)
        mean = self.means()[-1].detach().numpy()
        action = np.round(mean + self.rng.standard_normal(len(mean)), 6)
        distances = ((self.features - action) ** 2).sum(axis=1)
        left = self.unasked if self.unasked.any() else self.known
        distances = np.where(left, distances, np.inf)
        place = int(np.argmin(distances))
        self.unasked[place] = False
        self.actions.append(action)
        self.places.append(place)
        self.state = self.features[place]
        return self.query(self.view.space[place], self.trained)

    def tell(self, query: Query, evaluation: Evaluation) -> None:
        """Learn a reward; a training that diverged has the reward of chance."""
        self.keep_best(query, evaluation)
        self.rewards.setdefault(query.cell.index, self.worth(evaluation) / 100)
        if len(self.actions) == self.episode and set(self.rewards) >= set(self.places):
            self._learn()
            self._begin()

    def means(self) -> list[Any]:
        """Means of the actions at the states of the episode, as the policy has them now."""
        torch, kept, found = import_torch(), None, []
        for state in self.states:
            kept = self.memory(torch.tensor(state)[None], kept)
            found.append(self.head(kept[0])[0])
        return found

    def _learn(self) -> None:
        torch = import_torch()
        means = torch.stack(self.means())
        actions = torch.as_tensor(np.array(self.actions))
        rewards = torch.as_tensor([self.rewards[place] - self.baseline for place in self.places])
        likelihoods = -0.5 * ((actions - means) ** 2).sum(dim=1)
        self.adam.zero_grad()
        (-(likelihoods * rewards).mean()).backward()
        self.adam.step()

    def _begin(self) -> None:
        self.states: list[Any] = []
        self.actions: list[Any] = []
        self.places: list[int] = []
        self.rewards: dict[int, float] = {}
