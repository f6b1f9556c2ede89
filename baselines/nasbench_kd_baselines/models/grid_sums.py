"""Weighted sums of a product kernel over all architectures of a space, without its matrix."""

from __future__ import annotations

import math
from functools import lru_cache, reduce

import numpy as np
import numpy.typing as npt

from nasbench_kd.spaces.space import SearchSpace

Floats = npt.NDArray[np.float64]
_LARGEST_KERNEL = 32


def kernel_sums(space: SearchSpace, cells: npt.NDArray[np.intp], weights: Floats, ratio: float) -> Floats:
    """Sums over observed cells of weights times ratio^(Hamming distance), at every architecture, (n,).

    `cells` are k indices, repeats allowed; `weights` has the shape (k,). On a full grid the kernel is a product
    over coordinates, applied to one or two of them at a time: the time does not depend on k.
    """
    if not space.grid:
        table = ratio ** np.arange(len(space.choices) + 1)
        return weights @ table[hamming_distances(space, cells)]
    places, kernels = _grid_places(space), [_kernel(sizes, ratio) for sizes in _axes_at_once(space)]
    field = np.asarray(np.bincount(places[cells], weights=weights, minlength=len(space)), dtype=float)
    for kernel in kernels:
        # The axes at the front are summed over and go to the back: in the end each is where it was.
        field = field.reshape(len(kernel), -1).T @ kernel
    return np.asarray(field.ravel()[places])


def hamming_distances(space: SearchSpace, cells: npt.NDArray[np.intp]) -> npt.NDArray[np.int8]:
    """Number of coordinates at which observed cells differ from every architecture, (k, n)."""
    found = np.zeros((len(cells), len(space)), dtype=np.int8)
    for column in space.codes.T:
        found += column[cells, None] != column[None, :]
    return found


@lru_cache(maxsize=8)
def _axes_at_once(space: SearchSpace) -> tuple[tuple[int, ...], ...]:
    """Numbers of choices, in groups whose kernels are small matrices: fewer products, of a better shape."""
    groups: list[list[int]] = [[]]
    for size in map(len, space.choices):
        if math.prod(groups[-1]) * size > _LARGEST_KERNEL and groups[-1]:
            groups.append([])
        groups[-1].append(size)
    return tuple(map(tuple, groups))


@lru_cache(maxsize=64)
def _kernel(sizes: tuple[int, ...], ratio: float) -> Floats:
    """Of a few coordinates: ratio^(number that differ), for all pairs of their combinations."""
    each = (np.where(np.eye(size, dtype=bool), 1.0, ratio) for size in sizes)
    return np.asarray(reduce(np.kron, each), dtype=float)


@lru_cache(maxsize=8)
def _grid_places(space: SearchSpace) -> npt.NDArray[np.intp]:
    """Where each architecture of a full grid lies in the array of all combinations, (n,)."""
    return np.asarray(np.ravel_multi_index(tuple(space.codes.T), tuple(map(len, space.choices))))
