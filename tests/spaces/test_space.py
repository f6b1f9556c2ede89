"""The search space against published facts and itself."""

from __future__ import annotations

import contextlib
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasbench_kd.errors import ArgumentError, CellError
from nasbench_kd.spaces.nasbench201 import (
    EDGES,
    OPERATIONS,
    SPACE,
    SPACE_SIZE,
    Cell,
    all_cells,
    code_matrix,
    isomorphism_classes,
    one_hot_matrix,
    representatives,
)

indices = st.integers(0, SPACE_SIZE - 1)


def test_index_0_is_the_published_cell():
    expected = (
        "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"
    )
    assert str(Cell.from_index(0)) == expected


def test_index_order_is_the_reference_order(reference: Path):
    pandas = pytest.importorskip("pandas")
    table = pandas.read_parquet(reference / "nb201_reference.parquet", columns=["cell", "isomorphism_class"])
    assert [str(cell) for cell in all_cells()] == table["cell"].tolist()
    first = table["isomorphism_class"].drop_duplicates()
    named = dict(zip(first, first.index, strict=True))
    assert table["isomorphism_class"].map(named).tolist() == isomorphism_classes().tolist()


def test_the_order_is_a_shuffle_and_leaves_the_global_state_alone():
    state = random.getstate()
    all_cells.__wrapped__()
    assert random.getstate() == state
    assert {cell.codes for cell in all_cells()} == {tuple(row) for row in np.ndindex(*(5,) * 6)}


@given(indices)
def test_every_form_leads_back_to_the_same_cell(index: int):
    cell = Cell.from_index(index)
    assert cell.index == index
    assert Cell.parse(str(cell)) is cell
    assert Cell.from_operations(cell.operations) is cell
    assert Cell.from_codes(cell.codes) is cell
    assert tuple(cell.one_hot().argmax(axis=1)) == cell.codes
    assert (one_hot_matrix()[index] == cell.one_hot().ravel()).all()
    assert tuple(code_matrix()[index]) == cell.codes
    assert pickle.loads(pickle.dumps(cell)) is cell


@given(indices)
def test_neighbours_differ_on_one_edge_and_are_mutual(index: int):
    cell = Cell.from_index(index)
    neighbours = cell.neighbours()
    assert len(set(neighbours)) == 24
    for other in neighbours:
        assert sum(a != b for a, b in zip(cell.codes, other.codes, strict=True)) == 1
        assert cell in other.neighbours()


def test_mutation_and_sampling_are_uniform_and_seeded():
    cell = Cell.from_index(7)
    rng = np.random.default_rng(0)
    counts = np.bincount([cell.neighbours().index(cell.mutate(rng)) for _ in range(24_000)], minlength=24)
    assert np.all(np.abs(counts - 1000) < 6 * np.sqrt(1000))
    first = [Cell.sample(np.random.default_rng(5)).index for _ in range(3)]
    assert len(set(first)) == 1


def test_there_are_6466_classes_and_representatives_stand_for_themselves():
    assert len(representatives()) == 6466
    for cell in representatives()[::50]:
        assert cell.representative is cell


@given(indices)
def test_a_representative_is_of_the_same_class_and_not_later(index: int):
    cell = Cell.from_index(index)
    assert cell.representative.index <= index
    assert cell.representative.isomorphism_class == cell.isomorphism_class


def test_a_cell_and_its_representative_compute_the_same_function():
    """Operations as fixed maps that keep zero at zero, as freshly initialised convolutions do."""
    rng = np.random.default_rng(0)
    narrow, wide, pool = rng.normal(size=(3, 8, 8)) / 2
    operations = (
        np.zeros_like,
        lambda x: x,
        lambda x: np.tanh(narrow @ x),
        lambda x: np.sin(wide @ x),
        pool.dot,
    )
    image = rng.normal(size=8)

    def output(cell: Cell) -> np.ndarray:
        nodes = [image]
        apply = [(source, operations[code]) for (source, _), code in zip(EDGES, cell.codes, strict=True)]
        for incoming in (apply[:1], apply[1:3], apply[3:]):
            nodes.append(sum(operation(nodes[source]) for source, operation in incoming))
        return nodes[-1]

    outputs = np.array([output(cell) for cell in all_cells()])
    np.testing.assert_allclose(outputs, outputs[isomorphism_classes()], atol=1e-12)
    distinct = len(np.unique(np.round(outputs, 9), axis=0))
    assert 4_000 < distinct <= 6_466


@pytest.mark.parametrize(
    ("string", "place", "word"),
    [
        ("|nor_conv_3x3~0|+|nor_conv_3x3~0|skip_conect~1|", 33, "skip_connect"),
        ("", 0, "'|'"),
        ("|none~0|+|none~0|", 17, "none"),
        ("|none~1|", 5, "'~0'"),
    ],
)
def test_a_malformed_string_shows_place_and_form(string: str, place: int, word: str):
    with pytest.raises(CellError) as caught:
        Cell.parse(string)
    message = str(caught.value)
    assert f"character {place}" in message
    assert word in message
    assert "form: |op~0|+|op~0|op~1|+|op~0|op~1|op~2|" in message


def test_trailing_text_is_shown():
    with pytest.raises(CellError, match="expected the end, found 'x'"):
        Cell.parse(str(Cell.from_index(3)) + "x")


@given(st.one_of(st.text(max_size=120), st.none(), st.integers(), st.binary(max_size=5)))
def test_only_typed_errors_come_from_parsing(text: object):
    with pytest.raises(CellError):
        Cell.parse(text)  # type: ignore[arg-type]


@given(st.lists(st.sampled_from([*OPERATIONS, "|", "~0", "~1", "~2", "+", "x"]), max_size=30).map("".join))
def test_near_misses_are_cells_or_typed_errors(text: str):
    with contextlib.suppress(CellError):
        assert str(Cell.parse(text)) == text


@pytest.mark.parametrize("index", [-1, SPACE_SIZE, 2.0, True, "7", None])
def test_indices_outside_the_space_are_refused(index: object):
    with pytest.raises(CellError):
        Cell.from_index(index)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "build",
    [
        lambda: Cell.from_codes((0, 0, 0, 0, 0, 5)),
        lambda: Cell.from_codes((0,) * 5),
        lambda: Cell.from_operations(["none"] * 7),
        lambda: Cell.from_operations(["none"] * 5 + ["conv"]),
        lambda: Cell.from_operations(["none"] * 5 + [[]]),
        lambda: Cell.from_operations(None),
        lambda: Cell.from_codes(None),
        lambda: Cell.from_codes(3),
        lambda: Cell.from_codes((True,) * 6),
        lambda: Cell.from_codes((1.0,) * 6),
        lambda: SPACE.from_codes((1.0,) * 6),
        lambda: SPACE.closest((9,) * 6),
        lambda: SPACE.closest((0, 0)),
        lambda: SPACE.closest((float("nan"),) * 6),
        lambda: SPACE.closest(None),
    ],
)
def test_other_malformed_forms_are_refused(build):
    with pytest.raises(CellError):
        build()


def test_cells_are_immutable_and_not_constructed_by_hand():
    with pytest.raises(AttributeError):
        Cell.from_index(0).index = 1
    with pytest.raises(TypeError):
        Cell()


@pytest.mark.parametrize("value", [["a"], {}, None, 3, b"|none~0|"])
def test_what_is_no_text_is_no_cell(value):
    with pytest.raises(CellError, match="a cell string is text"):
        Cell.parse(value)


@pytest.mark.parametrize("edge", [-1, -6, 6, 1.0, True, None, "0"])
def test_an_edge_that_is_not_there_is_not_replaced(edge):
    with pytest.raises(CellError, match="edges are numbered from 0 to 5"):
        Cell.from_index(0).replace(edge, "none")


@pytest.mark.parametrize("rng", [None, 0, np.random.RandomState(0), np.random])
def test_what_is_no_generator_draws_nothing(rng):
    for draw in (Cell.from_index(0).mutate, Cell.sample, SPACE.sample):
        with pytest.raises(ArgumentError, match=r"rng is a numpy\.random\.Generator"):
            draw(rng)
