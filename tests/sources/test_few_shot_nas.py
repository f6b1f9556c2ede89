"""The published scores of a supernet: read, priced, kept from searches of the data set whose test images they saw."""

from __future__ import annotations

import hashlib
import itertools
import json

import numpy as np
import pytest
from scipy.stats import kendalltau

import nasbench_kd as nk
from nasbench_kd.benchmark.benchmark import Benchmark
from nasbench_kd.errors import DataError, MissingEntryError
from nasbench_kd.sources.few_shot_nas import SOURCE, read_supernet
from nasbench_kd.sources.importer import import_file
from nasbench_kd.spaces.nasbench201 import OPERATIONS, SPACE_SIZE, Cell
from nasbench_kd.spaces.training_seconds import mean_seconds_per_image
from nasbench_kd.tables.catalog import full_results
from nasbench_kd.tables.table import Table
from nasbench_kd.tasks.nasbench201 import TASKS


def text_of(scores):
    """The file as its authors' script writes it: cells in blocks by their first operation, in an order of its own."""
    first = ("avg_pool_3x3", "nor_conv_1x1", "nor_conv_3x3", "none", "skip_connect")
    content = {}
    for edges in itertools.product(first, *[OPERATIONS] * 5):
        a, b, c, d, e, f = edges
        name = str([((a, 0),), ((b, 0), (c, 1)), ((d, 0), (e, 1), (f, 2))])
        content[name] = scores[Cell.from_operations(edges).index]
    return json.dumps(content)


@pytest.fixture(scope="module")
def scores():
    return np.random.default_rng(0).integers(0, 10_001, SPACE_SIZE) / 100


@pytest.fixture
def file(tmp_path, scores):
    path = tmp_path / "few-shot-supernet"
    path.write_text(text_of(scores.tolist()))
    return path


def test_every_cell_has_its_score_at_the_price_of_a_pass(file, scores):
    column = read_supernet(file)
    assert str(column.fidelity) == "few-shot"
    assert column.values("score") == pytest.approx(scores, abs=1e-5)
    cell = Cell.from_operations(["nor_conv_3x3"] * 6)
    expected = 10_000 * (3.55 + 6 * 2.28) / 25_000 / 3
    assert column.rows["microseconds"][cell.index] == pytest.approx(expected * 1e6, abs=1)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-10],
        lambda text: text.replace("none", "nine", 1),
        lambda text: text.replace("('none', 2)", "('none', 1)", 1),
        lambda text: "[1, 2]",
        lambda text: "{}",
        lambda text: '{"' + '": {"' * 9999,
    ],
)
def test_what_is_no_such_file_is_refused(file, spoil):
    file.write_text(spoil(file.read_text()))
    with pytest.raises(DataError, match="few-shot-supernet"):
        read_supernet(file)
    with pytest.raises(DataError, match="one-shot-supernet or few-shot-supernet"):
        read_supernet(file.rename(file.with_name("scores.json")))


def test_searches_of_cifar10_are_not_shown_what_was_read_on_its_test_images(file, tmp_path):
    table = import_file(file, folder=tmp_path / "tables")
    opened = [full_results(), Table.open(tmp_path / "tables" / table.name)]
    own, other = (Benchmark(TASKS[name], opened) for name in ("cifar10", "cifar100"))
    assert not [each for each in own.fidelities if each.score]
    for asked in ("few-shot", "few-shot on=cifar10"):
        with pytest.raises(
            MissingEntryError, match=r"read on the test images of cifar10.*'few-shot on=cifar10'"
        ):
            own.evaluate(Cell.from_index(0), asked, "score")
    run = nk.search("dna", other, "40 gpu-hours", seed=0)
    assert run.ending == "failed"
    search = nk.simulation.registry.make_optimizer("dna", {"score": "few-shot on=cifar10", "candidates": 50})
    run = nk.search(search, other, "60 gpu-hours", seed=0)
    assert run.ending == "budget"
    first = run.steps[0]
    assert first.teacher == pytest.approx((600 + 5 * 150) * 50_000 * mean_seconds_per_image() * 1e6, rel=1e-6)
    assert sum(step.teacher > 0 for step in run.steps) == 1


def test_the_pinned_file_is_the_column_that_is_known_from_elsewhere(reference, tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(reference / "nb201_reference.parquet")
    known = frame["oneshot_supernet_acc_cifar10"].astype(float).round(2).to_numpy()
    text = text_of(known.tolist())
    assert len(text) == SOURCE.files[0].size
    assert hashlib.sha256(text.encode()).hexdigest() == SOURCE.files[0].checksum
    path = tmp_path / "one-shot-supernet"
    path.write_text(text)
    column = read_supernet(path)
    valid = [f"cifar10_valid_acc_200ep_seed{seed}" for seed in (777, 888, 999)]
    truth = frame[valid].mean(axis=1).to_numpy()
    assert kendalltau(column.values("score"), truth)[0] == pytest.approx(0.443, abs=0.001)
