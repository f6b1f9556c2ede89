"""Further draws of a surrogate's entries: for each class a prediction, and the residuals of alike trainings around it.

An entry of a surrogate is one draw. Searches that all saw that one would share its luck; with the file `draws.npz`
beside a table every run has a draw of its own.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nasbench_kd.errors import DataError

FILE = "draws.npz"
Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class Group(NamedTuple):
    """Classes of one task that lack the same entries: q classes, T fidelities, n trainings, k peers of a class."""

    task: str
    fidelities: tuple[str, ...]
    images: Integers
    """Behind an accuracy of each fidelity, shape (T,)."""
    classes: Integers
    """Isomorphism classes, ascending, shape (q,)."""
    prediction: Array
    """Expected accuracy of one training in percent, shape (q, T)."""
    residuals: Array
    """What the measured trainings left in cross-validation, shape (n, T)."""
    peers: Integers
    """Trainings most like each class, shape (q, k)."""

    def accuracy(self, number: int, place: int, repetition: int) -> float | None:
        """Accuracy in percent that a class reaches at a fidelity in a repetition; None for a class not here."""
        row = int(np.searchsorted(self.classes, number))
        if row == len(self.classes) or self.classes[row] != number:
            return None
        peer = self.peers[row, peer_of(self.task, number, repetition, self.peers.shape[1])]
        images = int(self.images[place])
        correct = round(float(self.prediction[row, place] + self.residuals[peer, place]) * images / 100)
        return round(min(max(correct, 0), images) * (100.0 / images), 10)

    def accuracies(self, repetition: int) -> Array:
        """What `accuracy` gives of all classes at all fidelities in a repetition, shape (q, T)."""
        count = self.peers.shape[1]
        chosen = [peer_of(self.task, number, repetition, count) for number in self.classes.tolist()]
        drawn = self.prediction + self.residuals[self.peers[np.arange(len(chosen)), chosen]]
        return np.asarray(np.clip(np.rint(drawn * self.images / 100), 0, self.images) * (100.0 / self.images))


def peer_of(task: str, number: int, repetition: int, count: int) -> int:
    """Which of its peers' residuals a class has in a repetition: the same at all fidelities, so that they agree."""
    digest = hashlib.blake2b(f"{task} {number} {repetition}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % count


class Draws:
    """The draws beside a table, read when the first is asked for; raises `DataError` then where they are damaged."""

    def __init__(self, path: Path, sha256: str) -> None:
        self._path, self._sha256 = path, sha256

    def accuracy(self, task: str, fidelity: str, number: int, repetition: int) -> float | None:
        """Accuracy in percent of a class at a fidelity in a repetition; None where there is no draw of it."""
        for group, place in self._places.get((task, fidelity), ()):
            if (found := group.accuracy(number, place, repetition)) is not None:
                return found
        return None

    def groups(self, task: str) -> list[Group]:
        """The groups of a task."""
        found = {
            id(group): group
            for (name, _), places in self._places.items()
            for group, _ in places
            if name == task
        }
        return list(found.values())

    @cached_property
    def _places(self) -> Mapping[tuple[str, str], list[tuple[Group, int]]]:
        try:
            content = self._path.read_bytes()
            if hashlib.sha256(content).hexdigest() != self._sha256:
                raise DataError(
                    f"{self._path} does not match the checksum in the card of its table; install it again"
                )
            with np.load(io.BytesIO(content), allow_pickle=False) as stored:
                groups = [_group(stored, number) for number in range(int(stored["groups"]))]
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise DataError(f"{self._path} cannot be read: {error}") from error
        found: dict[tuple[str, str], list[tuple[Group, int]]] = {}
        for group in groups:
            for place, fidelity in enumerate(group.fidelities):
                found.setdefault((group.task, fidelity), []).append((group, place))
        return found


def write_draws(path: Path, groups: Iterable[Group]) -> str:
    """Write groups as a file and return its SHA-256; the same groups give the same bytes."""
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    count = 0
    for group in groups:
        arrays |= {
            f"{count}_task": np.array(group.task),
            f"{count}_fidelities": np.array(group.fidelities),
            f"{count}_images": np.asarray(group.images, dtype=np.uint32),
            f"{count}_classes": np.asarray(group.classes, dtype=np.uint16),
            f"{count}_prediction": group.prediction,
            f"{count}_residuals": group.residuals,
            f"{count}_peers": np.asarray(group.peers, dtype=np.uint16),
        }
        count += 1
    buffer = io.BytesIO()
    np.savez(buffer, groups=np.array(count), **arrays)  # type: ignore[arg-type]
    path.write_bytes(buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def _group(stored: Mapping[str, npt.NDArray[np.generic]], number: int) -> Group:
    def named(name: str) -> npt.NDArray[np.generic]:
        return stored[f"{number}_{name}"]

    return Group(
        str(named("task")),
        tuple(map(str, named("fidelities").tolist())),
        named("images").astype(np.int64),
        named("classes").astype(np.int64),
        named("prediction").astype(np.float64),
        named("residuals").astype(np.float64),
        named("peers").astype(np.int64),
    )
