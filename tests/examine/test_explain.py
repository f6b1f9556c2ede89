"""What `explain` says of known cells."""

from __future__ import annotations

import numpy as np
import pytest

from nasbench_kd import Cell, load
from nasbench_kd.benchmark.scoring import open_scorer
from nasbench_kd.examine.explain import explain, rank_of, to_text
from nasbench_kd.examine.explain_figure import draw_explanation
from nasbench_kd.spaces.nasbench201 import isomorphism_classes
from nasbench_kd.tables.catalog import tables
from nasbench_kd.tables.column import Column, make_rows
from nasbench_kd.tables.table import write_table
from nasbench_kd.tasks.fidelity import FULL, Fidelity
from nasbench_kd.tasks.registry import find_task

BEST = Cell.parse(
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
)


def test_best_cell_of_cifar10(pulled, monkeypatch):
    monkeypatch.setenv("NASBENCH_KD_DATA", str(pulled))
    explanation = explain(BEST)
    first = explanation.ranks[0]
    assert (first.task, first.rank, first.low, round(first.accuracy, 3)) == ("cifar10", 1, 1, 91.607)
    assert first.high > 1
    found = {
        (r.task, r.fidelity, r.split, r.seed): r
        for r in explanation.results
        if r.table != "nb201-v1.1-means" and not r.table.startswith(("kd_", "mf-kd"))
    }
    assert found["cifar10", "none@200", "test", None].accuracy == pytest.approx(94.373, abs=1e-3)
    assert found["cifar100", "none@12", "valid", 111].accuracy == 60.2
    for seed in (777, 888, 999):
        entry = load("cifar10").evaluate(BEST, seed=seed)
        result = found["cifar10", "none@200", "valid", seed]
        assert (result.accuracy, result.seconds) == pytest.approx((entry.valid_accuracy, entry.seconds))
    assert len(found) == 18
    distilled = [r for r in explanation.results if r.table.startswith(("kd_", "mf-kd"))]
    trained = [r for r in distilled if "@" in r.fidelity]  # the others are scores
    assert {(r.task, r.fidelity.split("@")[0]) for r in trained} == {
        (task, name) for task in ("cifar10", "cifar100") for name in ("none", "nst")
    }
    assert set(explanation.results) - set(explanation.finals) == {r for r in distilled if "/" in r.fidelity}


def test_ranks_are_those_of_the_sorted_means():
    valid = open_scorer("imagenet16-120", "embedded").valid
    means = np.nanmean(valid, axis=1)
    order = np.argsort(-means)
    for position in (0, 1, 500, 9_000, 15_624):
        rank = rank_of("imagenet16-120", Cell.from_index(int(order[position])), valid)
        assert rank.rank == 1 + int((means > means[order[position]]).sum())
        assert rank.low <= rank.rank <= rank.high


def test_rank_interval_covers_a_fresh_seed():
    """Where the second seed alone would rank a cell lies within the interval of the first, widened by its own noise."""
    valid = open_scorer("cifar100", "embedded").valid
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(valid), 300, replace=False)
    inside = 0
    for index in chosen:
        rank = rank_of("cifar100", Cell.from_index(int(index)), valid)
        inside += abs(valid[index, 0] - valid[index, 1]) <= 1.96 * np.sqrt(2) * rank.seed_deviation
    assert 0.91 <= inside / len(chosen) <= 0.99


def test_broken_training_widens_the_interval():
    rank = explain(Cell.from_index(9075), data="embedded").ranks[2]
    assert rank.seed_deviation == pytest.approx(np.std([27.9, 0.8 / 3], ddof=1))
    assert rank.low < 11_000


def test_neighbours_and_twins():
    cell = Cell.from_index(9075)
    explanation = explain(cell, data="embedded")
    assert {neighbour.cell for neighbour in explanation.neighbours} == set(cell.neighbours())
    means = np.nanmean(open_scorer("cifar10", "embedded").valid, axis=1)
    for neighbour in explanation.neighbours:
        assert cell.replace(*neighbour.changes[0]) is neighbour.cell
        assert neighbour.differences[0] == pytest.approx(means[neighbour.cell.index] - means[cell.index])
    assert {twin.index for twin in explanation.twins} | {cell.index} == set(
        np.flatnonzero(isomorphism_classes() == cell.isomorphism_class).tolist()
    )


def test_text_names_everything(pulled, monkeypatch):
    monkeypatch.setenv("NASBENCH_KD_DATA", str(pulled))
    text = to_text(explain(BEST))
    for part in (
        str(BEST),
        "1 of 15,625",
        "94.373",
        "none@12",
        "nats-bench-test",
        "1.073 M parameters",
        "153.27 M",
    ):
        assert part in text
    assert text.count("\n  ") >= 18 + 3 + 24
    assert max(map(len, text.splitlines())) <= 120


def test_curves_do_not_flood_the_text(tmp_path, monkeypatch):
    monkeypatch.setenv("NASBENCH_KD_DATA", str(tmp_path))
    fidelities = [FULL.at_epoch(epoch) for epoch in range(1, 100)]
    columns = [
        Column(
            "cifar10", each, "valid", 25_000, make_rows([7], [777], [20_000], [10]), {"source": "measured"}
        )
        for each in fidelities
    ]
    write_table(tmp_path / "curves", "curves", columns, {})
    explanation = explain(Cell.from_index(7))
    embedded = explain(Cell.from_index(7), data="embedded")
    assert explanation.finals == embedded.finals
    earlier = len(explanation.results) - len(explanation.finals)
    assert earlier == len(embedded.results) - len(embedded.finals) + 99
    assert f"and {earlier} at earlier epochs" in to_text(explanation)


def test_figure_is_drawn_and_its_bytes_are_stable(tmp_path):
    pytest.importorskip("matplotlib", reason="needs the extra report")
    explanation = explain(Cell.from_index(3), data="embedded")
    first = draw_explanation(explanation, tmp_path / "a")
    assert first == tmp_path / "a.png"
    assert first.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    draw_explanation(explanation, tmp_path / "b")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_long_fidelities_leave_the_panels_their_width(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="needs the extra report")
    widths = []

    def measure(figure, stem):
        figure.canvas.draw()
        widths.extend(axis.get_window_extent().width / figure.bbox.width for axis in figure.axes[-3:])
        return stem

    monkeypatch.setattr("nasbench_kd.examine.explain_figure.save", measure)
    explanation = explain(Cell.from_index(6111), data="embedded")
    assert max(len(result.fidelity) for result in explanation.finals) > 50
    draw_explanation(explanation, tmp_path / "a")
    assert min(widths) > 0.2


def test_it_shows_every_reading_and_trainings_without_validation(tmp_path, monkeypatch):
    monkeypatch.setenv("NASBENCH_KD_DATA", str(tmp_path))
    rows = make_rows([0], [777], [0], [2_000_000], {"train_loss": np.array([1.25])})
    column = Column(
        "cifar100", Fidelity.parse("kd@3"), "valid", 0, rows, {"source": "measured"}, {"train_loss": None}
    )
    write_table(tmp_path / "unseen", "unseen", [column], {})
    explanation = explain(Cell.from_index(0))
    (unseen,) = (result for result in explanation.results if result.table == "unseen")
    assert (unseen.accuracy, unseen.readings) == (None, (("train_loss", 1.25),))
    authors = next(r for r in explanation.results if (r.fidelity, r.split) == ("nst@12", "valid"))
    assert dict(authors.readings)["train_loss"] == pytest.approx(-2.579, abs=5e-4)
    text = to_text(explanation)
    assert "no pass" in text
    assert "train_loss 1.250" in text
    assert "train_loss -2.579" in text


def test_an_architecture_of_another_space_is_explained_and_drawn_in_words(tmp_path):
    space = find_task("kd-resnet").space
    explanation = explain(space.parse("blocks1=1 blocks2=3 blocks3=3"), data="embedded")
    text = to_text(explanation)
    assert "kd-resnet: 0.269 M parameters" in text
    assert "rank by mean validation accuracy after 240 epochs" in text
    rank = explanation.ranks[0]
    better = sum(round(each[1], 6) > 70.85 for each in known_residual_networks())
    # Without a second training the noise is not known, and no interval is shown.
    assert (rank.rank, rank.low, rank.high) == (better + 1, None, None)
    assert f"{rank.rank} of 64   70.850 %, no second training anywhere" in text
    assert "interval" not in text
    assert "blocks3 7            +2.460   cell 7" in text
    pytest.importorskip("matplotlib", reason="needs the extra report")
    draw_explanation(explanation, tmp_path / "x")
    drawn = (tmp_path / "x.svg").read_text()
    for told in ("blocks1 1", "the 9 neighbours", f"rank {rank.rank}", "of 64"):
        assert told in drawn


def known_residual_networks():
    """(index, distilled accuracy) of every network, read from the table's own file."""
    (column,) = (
        column
        for table in tables("embedded", find_task("kd-resnet"))
        for column in table.select("kd-resnet", "valid")
        if column.fidelity.distillation == "kd"
    )
    return list(zip(column.rows["cell"].tolist(), column.accuracies().tolist(), strict=True))
