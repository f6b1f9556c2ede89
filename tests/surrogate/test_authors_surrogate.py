"""The surrogate of MF-KD's own fidelity: what it knows, how good it is, and what ships."""

from __future__ import annotations

import numpy as np
import pytest

import nasbench_kd as nk
from nasbench_kd.spaces.nasbench201 import SPACE_SIZE, isomorphism_classes, representatives
from nasbench_kd.tables.catalog import EMBEDDED_FOLDER
from nasbench_kd.tables.table import Table
from tests.conftest import ROOT

pytest.importorskip("sklearn", reason="needs the extra models")

from nasbench_kd.surrogate import authors
from nasbench_kd.surrogate.features import structure

EVERY = np.arange(SPACE_SIZE)


@pytest.fixture(scope="module")
def shipped() -> Table:
    return Table.open(EMBEDDED_FOLDER / "mf_kd_surrogate")


@pytest.fixture(scope="module")
def held_out() -> dict:
    """The validation with a fifth of the trees and half of the folds, made here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(authors, "TREES", 60)
        patch.setattr(authors, "FOLDS", 5)
        return authors.validate(authors.records())


def test_it_knows_no_accuracy_after_200_epochs():
    inputs = authors.inputs()
    benches = [nk.load(task, data="embedded") for task in ("cifar10", "cifar100", "imagenet16-120")]
    for place, bench in enumerate(benches):
        np.testing.assert_array_equal(inputs[:, place], bench.evaluate_many(EVERY, "none@12").value)
    np.testing.assert_array_equal(inputs[:, 3], benches[0].evaluate_many(EVERY).seconds)
    np.testing.assert_array_equal(inputs[:, 4:], structure())


@pytest.mark.parametrize("which", ["shipped", "made here"])
def test_held_out_classes_are_predicted_and_their_draws_say_what_trainings_say(shipped, held_out, which):
    found = shipped.card["quality"] if which == "shipped" else held_out
    assert (found["trainings"], found["classes"]) == (200, 175)
    assert found["r2"] > 0.9
    assert found["rmse"] < 5
    # 90 % of 200: a deviation of 2.1 %.
    assert 0.84 < found["coverage"] < 0.96
    assert found["interval_width_without_convolution"] > 1.3 * found["interval_width"]
    assert set(found["tau_with_full"]) == {"all", "better half"}
    for taus in found["tau_with_full"].values():
        (_, low, high), (_, least, most) = taus["measured"], taus["drawn"]
        assert least <= high
        assert low <= most
        assert taus["predicted"] > taus["drawn"][0]


def test_what_ships_is_drawn_from_the_model(shipped):
    measured = authors.records()
    (column,) = [each for each in shipped.columns if str(each.fidelity) == "nst@12"]
    cells = column.rows["cell"].astype(np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(authors, "FOLDS", 10)
        model = authors.AuthorsSurrogate(measured.cells, measured.accuracy)
    drawn = model.answer(cells).draw(cells)[:, -1]
    # The last bits of a mean over trees may differ between processors.
    assert np.mean(np.abs(drawn - column.accuracies()) < 0.03) > 0.99
    bounds = model.answer(cells).intervals()[:, -1]
    odd = authors.unsupported()[cells]
    width = bounds[:, 1] - bounds[:, 0]
    assert width[odd].mean() > 1.3 * width[~odd].mean()


def test_nothing_is_drawn_where_something_is_measured(shipped):
    classes = isomorphism_classes()
    known = set(classes[authors.records().cells].tolist())
    expected = {cell.index for cell in representatives()} - known
    assert len(shipped.columns) == 12
    for column in shipped.columns:
        assert column.provenance["source"] == "surrogate"
        assert {int(classes[cell]) for cell in column.rows["cell"]} == {
            int(classes[cell]) for cell in expected
        }
    bench = nk.load("cifar100", data="embedded")
    sources = {index: bench.evaluate(nk.Cell.from_index(index), "nst@12").source for index in range(400)}
    assert all(source == "measured" for index, source in sources.items() if index < 200)
    assert {source for index, source in sources.items() if index >= 200} == {"isomorphic", "surrogate"}


def test_every_run_has_a_draw_of_its_own():
    bench = nk.load("cifar100", data="embedded")
    cell, fidelity = nk.Cell.from_index(902), nk.Fidelity.parse("nst@12")
    assert bench.evaluate(cell, fidelity).source == "surrogate"
    found = {bench.draw(cell, fidelity, seed).value for seed in range(40)}
    assert 5 < len(found) <= authors.PEERS
    assert bench.draw(cell, fidelity, 3) == bench.draw(cell, fidelity, 3)
    measured = {bench.draw(nk.Cell.from_index(5), fidelity, seed).value for seed in range(5)}
    assert len(measured) == 1


def test_prices_follow_those_of_the_authors(shipped):
    bench = nk.load("cifar100", data="embedded")
    full = bench.evaluate_many(EVERY).seconds
    per_epoch = bench.evaluate_many(EVERY, "nst@12").seconds / 12 / (full / 200)
    assert np.median(per_epoch) == pytest.approx(1, abs=0.05)
    np.testing.assert_array_less(
        bench.evaluate_many(EVERY, "nst@11/12").seconds, bench.evaluate_many(EVERY, "nst@12").seconds
    )


def test_the_page_has_the_figures_of_the_card(shipped):
    assert authors.quality_markdown(shipped.card["quality"]) in (ROOT / "docs" / "surrogate.md").read_text()
