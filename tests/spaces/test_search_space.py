"""Search spaces as values: numbering, neighbours, twins and strings of spaces other than NAS-Bench-201."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import nasbench_kd as nk
from nasbench_kd.errors import ArgumentError, CellError
from nasbench_kd.spaces.nasbench201 import OPERATIONS, SPACE, all_cells, one_hot_matrix
from nasbench_kd.spaces.vision_transformers import AUTOFORMER, PIT

GRID = nk.SearchSpace("grid", {"depth": ("1", "2", "3"), "width": ("8", "16"), "pool": ("max", "mean")})
SAMPLE = nk.SearchSpace(
    "sample",
    {"depth": ("1", "2", "3"), "width": ("8", "16", "32")},
    np.array([[0, 0], [0, 1], [1, 1], [2, 2]]),
    classes=[0, 1, 1, 3],
)


class TestNumbering:
    def test_every_combination_is_there_once_in_lexicographic_order(self):
        assert len(GRID) == 12
        assert GRID.grid
        assert [each.choices for each in GRID][:3] == [
            ("1", "8", "max"),
            ("1", "8", "mean"),
            ("1", "16", "max"),
        ]
        assert len({each.choices for each in GRID}) == 12

    def test_a_sample_keeps_its_own_order(self):
        assert not SAMPLE.grid
        assert [each.codes for each in SAMPLE] == [(0, 0), (0, 1), (1, 1), (2, 2)]
        assert SAMPLE.from_codes((1, 1)).index == 2
        assert SAMPLE.representatives.tolist() == [0, 1, 3]

    @pytest.mark.parametrize("index", [-1, 4, 1.0, True, "1", None])
    def test_no_other_index_names_an_architecture(self, index):
        with pytest.raises(CellError, match="indices run from 0 to 3"):
            SAMPLE[index]

    def test_one_hot_rows_say_each_choice_once(self):
        assert GRID.one_hot.shape == (12, 7)
        assert (GRID.one_hot.sum(axis=1) == 3).all()
        assert SPACE.one_hot.tolist() == one_hot_matrix().tolist()

    def test_draws_are_uniform(self):
        rng = np.random.default_rng(0)
        counts = np.bincount([SAMPLE.sample(rng).index for _ in range(4000)], minlength=4)
        assert counts.min() > 900


class TestNeighbours:
    def test_in_a_grid_they_differ_at_one_coordinate(self):
        found = GRID[5].neighbours()
        assert len(found) == 2 + 1 + 1
        assert {sum(a != b for a, b in zip(GRID[5].codes, each.codes, strict=True)) for each in found} == {1}

    def test_in_a_sample_they_are_the_nearest_and_never_none(self):
        # Worked out by hand: two nearest, for two coordinates, and what is as near; (2, 2) shares no choice with any.
        found = [[each.index for each in SAMPLE[i].neighbours()] for i in range(4)]
        assert found == [[1, 2, 3], [0, 2], [0, 1, 3], [0, 1, 2]]

    def test_in_the_samples_that_ship_every_architecture_is_reached(self):
        for space in (AUTOFORMER, PIT):
            reached, new = {0}, {0}
            while new:
                new = {each.index for index in new for each in space[index].neighbours()} - reached
                reached |= new
            assert len(reached) == len(space)
            assert all(
                len(space[index].neighbours()) >= len(space.coordinates) for index in range(len(space))
            )

    def test_those_of_nas_bench_201_are_the_24_of_one_other_operation(self):
        cell = nk.Cell.from_index(77)
        by_hand = [
            (*cell.codes[:edge], code, *cell.codes[edge + 1 :])
            for edge in range(6)
            for code in range(len(OPERATIONS))
            if code != cell.codes[edge]
        ]
        assert [each.codes for each in cell.neighbours()] == by_hand
        assert {type(each) for each in cell.neighbours()} == {nk.Cell}

    def test_a_mutation_is_one_of_them_drawn_uniformly(self):
        rng = np.random.default_rng(1)
        drawn = [GRID[5].mutate(rng).index for _ in range(2000)]
        assert set(drawn) == {each.index for each in GRID[5].neighbours()}
        assert np.bincount(drawn)[drawn[0]] > 400

    def test_the_closest_differs_at_the_fewest_coordinates(self):
        assert SAMPLE.closest((2, 1)).codes == (0, 1)
        assert SAMPLE.closest((1, 1)).codes == (1, 1)


class TestStrings:
    def test_every_string_is_read_back(self):
        for space in (GRID, SAMPLE):
            assert [space.parse(str(each)).index for each in space] == list(range(len(space)))
        assert str(GRID[1]) == "depth=1 width=8 pool=mean"
        assert GRID.parse("pool=mean width=8 depth=1") == GRID[1]

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("depht=1 width=8 pool=max", "Did you mean 'depth'"),
            ("depth=1 width=9 pool=max", "width of grid is one of 8, 16"),
            ("depth=1 width=8", "it lacks pool"),
            ("depth=1 width=8 pool=max depth=2", "twice"),
            ("", "it lacks depth"),
            (3, "is text such as 'depth=1"),
        ],
    )
    def test_an_error_says_which_word_is_wrong(self, text, said):
        with pytest.raises(CellError, match=said):
            GRID.parse(text)

    def test_what_a_sample_lacks_is_told_with_what_comes_close(self):
        with pytest.raises(CellError, match="closest is Architecture.0: depth=1 width=8"):
            SAMPLE.parse("depth=3 width=8")


class TestValues:
    def test_architectures_are_equal_by_space_and_index(self):
        twin = nk.SearchSpace("sample", {"depth": ("1", "2", "3"), "width": ("8", "16", "32")}, SAMPLE.codes)
        assert twin[2] == SAMPLE[2]
        assert hash(twin[2]) == hash(SAMPLE[2])
        assert SAMPLE[2] != SAMPLE[1]
        assert SAMPLE[2] != GRID[2]
        assert twin[2] in SAMPLE
        assert nk.Cell.from_index(2) not in SAMPLE

    def test_they_survive_pickling_and_copying(self):
        for one in (GRID[3], SAMPLE[3], nk.Cell.from_index(3)):
            again = pickle.loads(pickle.dumps(one))
            assert (again, again.codes, str(again)) == (one, one.codes, str(one))
            assert copy.deepcopy(one) == one
        assert pickle.loads(pickle.dumps(SPACE))[9] is all_cells()[9]
        assert len(pickle.dumps(SPACE)) < 5000, "the whole space of cells travels with every optimizer"

    def test_they_cannot_be_changed(self):
        for change in (lambda: setattr(GRID[3], "index", 4), lambda: delattr(GRID[3], "index")):
            with pytest.raises(AttributeError, match="immutable"):
                change()
        for rows in (GRID.codes, GRID.classes, GRID.one_hot, GRID.representatives):
            with pytest.raises(ValueError, match="read-only"):
                rows[0] = 0

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ({"choices": {}}, "two or more"),
            ({"choices": {"a": ("1",)}}, "two or more"),
            ({"choices": {"a": ("1", "1")}}, "two or more"),
            ({"choices": {"a": ("1", "2")}, "codes": [[0]]}, "cannot have 1"),
            ({"choices": {"a": ("1", "2")}, "codes": [[0], [2]]}, "positions of choices"),
            ({"choices": {"a": ("1", "2")}, "codes": [[0], [0]]}, "the same codes"),
            ({"choices": {"a": ("1", "2")}, "size": 3}, "cannot have 3"),
        ],
    )
    def test_what_describes_no_space_is_refused(self, arguments, said):
        with pytest.raises(ArgumentError, match=said):
            nk.SearchSpace("wrong", **arguments)

    @pytest.mark.parametrize("classes", [[0, 1], [0, 1, 2, 4], [1, 1, 2, 3], [0.0, 1.0, 2.0, 3.0]])
    def test_classes_name_the_smallest_index_of_each(self, classes):
        with pytest.raises(ArgumentError, match="smallest index"):
            nk.SearchSpace("wrong", {"a": "12", "b": "12"}, classes=classes).classes  # noqa: B018
