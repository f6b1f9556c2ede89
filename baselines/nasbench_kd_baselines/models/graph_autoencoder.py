"""arch2vec's variational graph autoencoder: embeddings of architectures that no accuracy had a part in."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nasbench_kd.errors import MissingDependencyError
from nasbench_kd.spaces.encodings import Graph
from nasbench_kd.spaces.space import SearchSpace

Floats = npt.NDArray[np.float64]
SHIPPED = Path(__file__).parent / "embeddings"
"""Embeddings by space (`SPACE.npz`), each with its card (`SPACE.json`)."""
DECIMALS = 4
"""Embeddings are rounded, so that the last bits of a machine's arithmetic do not decide between architectures."""


class Pretraining(NamedTuple):
    """How an autoencoder is trained; the defaults are those of the authors' script for NAS-Bench-201."""

    epochs: int = 10
    batch: int = 32
    width: int = 128
    latent: int = 16
    rounds: int = 4
    """Of message passing, "5 hops" in the authors' words."""
    dropout: float = 0.3
    learning_rate: float = 1e-3
    clip: float = 5.0
    share: float = 0.9
    """Of the architectures, which are trained on; the others tell what is reconstructed."""
    seed: int = 3


_DEFAULT = Pretraining()


def import_torch() -> Any:
    """Return the `torch` module; raises `MissingDependencyError` where it is not installed."""
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError(
            "training an encoder of architectures needs PyTorch: pip install 'nasbench-kd[live]'"
        ) from error
    return torch


def embeddings(space: SearchSpace, pretraining: Pretraining | None = None) -> Floats:
    """Embeddings of all architectures, the mean over the nodes of their graph, shape (n, latent), read-only.

    By default those that ship for the space (`SHIPPED`, by `python -m
    nasbench_kd_baselines.models.graph_autoencoder`), where some do; else an autoencoder is trained, in 40 CPU-seconds
    on NAS-Bench-201, once for a process.
    """
    file = SHIPPED / f"{space.name}.npz"
    if pretraining is None and file.exists():
        return _read(file, len(space))
    return np.asarray(pretrain(space, pretraining or _DEFAULT)[0].mean(axis=1).round(DECIMALS))


@lru_cache(maxsize=4)
def pretrain(space: SearchSpace, how: Pretraining = _DEFAULT) -> tuple[Floats, float]:
    """Train an autoencoder; node embeddings, (n, nodes, latent), and the share of held-out graphs it reconstructs.

    A held-out graph counts where the likeliest symbol of every node is its own.
    """
    torch = import_torch()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more of them wait for each other: the matrices are small
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(how.seed)
            return _train(torch, space.graph, how)
    finally:
        torch.set_num_threads(threads)


@lru_cache(maxsize=4)
def _read(file: Path, count: int) -> Floats:
    with np.load(file) as content:
        found: Floats = content["scaled"].astype(np.float64) / 10**DECIMALS
    if len(found) != count:
        raise ValueError(f"{file.name} embeds {len(found)} architectures, and the space has {count}")
    found.setflags(write=False)
    return found


def _train(torch: Any, graph: Graph, how: Pretraining) -> tuple[Floats, float]:
    """As the authors train (AIoT-MLSys-Lab/arch2vec, `models/pretraining_nasbench201.py`), see `Arch2vec`."""
    symbols = torch.nn.functional.one_hot(torch.as_tensor(graph.symbols), graph.kinds).float()
    count, nodes, kinds = symbols.shape
    arrows = torch.as_tensor(graph.arrows).float()
    both_ways = arrows + arrows.T
    upper = torch.triu(torch.ones(nodes, nodes), 1).bool()
    encoder = _encoder(torch, kinds, how)
    heads = torch.nn.ModuleDict(
        {
            "mean": torch.nn.Linear(how.width, how.latent),
            "spread": torch.nn.Linear(how.width, how.latent),
            "symbols": torch.nn.Linear(how.latent, kinds),
        }
    )
    parameters = [*encoder.parameters(), *heads.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=how.learning_rate)
    order = torch.randperm(count)
    split = max(1, round(how.share * count))
    training, held_out = order[:split], order[split:]
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    for _ in range(how.epochs):
        for batch in training[torch.randperm(split)].split(how.batch):
            given = symbols[batch]
            hidden = encoder(given, both_ways)
            mean, log_deviation = heads["mean"](hidden), heads["spread"](hidden)
            drawn = mean + log_deviation.exp() * torch.randn_like(mean)
            drawn = torch.nn.functional.dropout(drawn, how.dropout)
            found = (drawn @ drawn.transpose(1, 2))[:, upper]
            divergence = (
                -0.5 * (1 + 2 * log_deviation - mean**2 - (2 * log_deviation).exp()).sum(dim=2).mean()
            )
            loss = (
                entropy(heads["symbols"](drawn), given)
                + entropy(found, arrows[upper].expand_as(found)) * (upper.sum() / nodes**2)
                + divergence / (len(batch) * nodes)
            )
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, how.clip)
            optimizer.step()
    encoder.eval()
    with torch.no_grad():
        latent = torch.cat([heads["mean"](encoder(each, both_ways)) for each in symbols.split(4096)])
        likeliest = heads["symbols"](latent[held_out]).argmax(dim=2)
        right = (likeliest == symbols[held_out].argmax(dim=2)).all(dim=1).float()
    return latent.double().numpy(), float(right.mean()) if len(held_out) else float("nan")


def _encoder(torch: Any, kinds: int, how: Pretraining) -> Any:
    """Rounds of: a node (weighted by 1 + a learnt number) plus its neighbours, Linear-norm-ReLU-Linear, norm, ReLU."""
    nn = torch.nn

    class Encoder(nn.Module):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            sizes = [kinds, *[how.width] * (how.rounds - 1)]
            self.own = nn.Parameter(torch.zeros(how.rounds))
            self.mixers = nn.ModuleList(
                nn.Sequential(
                    nn.Linear(size, how.width),
                    nn.BatchNorm1d(how.width),
                    nn.ReLU(),
                    nn.Linear(how.width, how.width),
                    nn.BatchNorm1d(how.width),
                    nn.ReLU(),
                )
                for size in sizes
            )

        def forward(self, given: Any, arrows: Any) -> Any:
            count, nodes, _ = given.shape
            for own, mixer in zip(self.own, self.mixers, strict=True):
                gathered = (1 + own) * given + arrows @ given
                given = mixer(gathered.reshape(count * nodes, -1)).view(count, nodes, -1)
            return given

    return Encoder()


def write(space: SearchSpace, folder: Path = SHIPPED, how: Pretraining = _DEFAULT) -> float:
    """Train and write the embeddings of a space and their card; returns the share that is reconstructed."""
    nodes, share = pretrain(space, how)
    found = np.rint(nodes.mean(axis=1) * 10**DECIMALS).astype(np.int16)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / f"{space.name}.npz", scaled=found)
    card = {
        "purpose": f"arch2vec embeddings of all architectures of {space.name}; no accuracy had a part in them",
        "source": "trained by this project on one thread of a CPU, 40 CPU-seconds",
        "licence": "Apache-2.0",
        "pretraining": how._asdict(),
        "held-out graphs reconstructed": share,
        "sha256 of the values": hashlib.sha256(found.tobytes()).hexdigest(),
        "rebuild": "python -m nasbench_kd_baselines.models.graph_autoencoder",
    }
    (folder / f"{space.name}.json").write_text(json.dumps(card, indent=1) + "\n")
    return share


if __name__ == "__main__":
    from nasbench_kd import load

    print(f"{write(load('cifar10').task.space):.2%} of the held-out graphs are reconstructed")
