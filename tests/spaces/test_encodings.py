"""Encodings of spaces: those of every space, those of NAS-Bench-201 against its specification, and their names."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import nasbench_kd as nk
from nasbench_kd.errors import ArgumentError
from nasbench_kd.spaces.nasbench201 import EDGES, OPERATIONS, SPACE
from nasbench_kd.spaces.vision_transformers import AUTOFORMER
from nasbench_kd.tasks.registry import find_task

GRID = nk.SearchSpace("grid", {"depth": ("1", "2", "3"), "width": ("8", "16")})
SUMS = nk.SearchSpace(
    "sums", {"a": ("1", "2"), "b": ("1", "2")}, encodings={"sum": lambda: np.array([2, 3, 3, 4])}
)


def test_every_space_has_codes_and_their_one_hot_form():
    assert GRID.encodings == ("codes", "one-hot")
    assert GRID.encoding("codes").tolist() == [[0, 0], [0, 1], [1, 0], [1, 1], [2, 0], [2, 1]]
    assert GRID.encoding("one-hot")[3].tolist() == [0, 1, 0, 0, 1]
    assert SUMS.encoding("sum") is SUMS.encoding("sum")
    assert SUMS.encodings == ("codes", "one-hot", "sum")


def test_what_a_space_lacks_is_said_with_what_it_has():
    with pytest.raises(
        ArgumentError, match="grid has no encoding 'one_hot'; it has codes, one-hot. Did you mean"
    ):
        GRID.encoding("one_hot")


def test_a_task_offers_the_encodings_of_its_space():
    assert find_task("cifar10").offers[:6] == ("nas-bench-201", "codes", "one-hot", "paths", "graph", "sizes")
    assert find_task("kd-resnet").offers == ("kd-resnet", "codes", "one-hot", "sizes", "teacher")


def test_a_space_of_no_graph_has_its_coordinates_side_by_side():
    graph = GRID.graph
    assert np.argwhere(graph.arrows).tolist() == [[0, 1], [0, 2], [1, 3], [2, 3]]
    assert graph.kinds == 3 + 2 + 2
    assert graph.symbols.tolist()[3] == [5, 1, 4, 6]  # depth 2 is the second symbol, width 16 the fifth
    assert not graph.absent.any()
    assert graph.paths(3) == ((1,), (4,))
    assert AUTOFORMER.graph.symbols.max() == AUTOFORMER.graph.kinds - 1 == AUTOFORMER.one_hot.shape[1] + 1


def walks(cell):
    """Operations along every path from node 0 to node 3 of a cell, by recursion over its edges."""

    def onwards(node, told):
        if node == 3:
            yield told
        for (source, target), operation in zip(EDGES, cell.operations, strict=True):
            if source == node and operation != "none":
                yield from onwards(target, (*told, OPERATIONS.index(operation)))

    return sorted(onwards(0, ()))


@pytest.mark.parametrize("index", range(0, 15_625, 311))
def test_the_paths_of_the_graph_are_those_of_the_cell(index):
    assert sorted(SPACE.graph.paths(index)) == walks(SPACE[index])


def test_a_mutation_draws_a_node_and_then_an_edge_that_ends_there():
    assert SPACE.graph.groups == ((0,), (1, 2), (3, 4, 5))
    for node, group in enumerate(SPACE.graph.groups, start=1):
        assert {EDGES[edge][1] for edge in group} == {node}


def test_a_pickled_space_keeps_what_it_declares():
    again = pickle.loads(pickle.dumps(SPACE))
    assert again == SPACE
    assert (again.encodings, again.drawing) == (SPACE.encodings, SPACE.drawing)
    assert (again.encoding("paths")[77] == SPACE.encoding("paths")[77]).all()
