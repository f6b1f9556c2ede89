"""Block-wise distillation: exact scores are those of plain passes, whatever happens on the way."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from nasbench_kd.errors import DataError, FidelityError
from nasbench_kd.live.block_wise import (
    SquaredError,
    Stage,
    StageTraining,
    exact_errors,
    plain_error,
    scores,
    seeded_stages,
    teacher_maps,
)
from nasbench_kd.live.block_wise_scores import BlockWiseScores
from nasbench_kd.live.export import write_patch
from nasbench_kd.live.laboratory import Laboratory
from nasbench_kd.live.supernet.choice_cell import ChoiceCell, path_edges
from nasbench_kd.live.supernet.paths import draw_path
from nasbench_kd.spaces.nasbench201 import EDGES, Cell, all_cells, code_matrix
from nasbench_kd.tables.patch import read_patch
from nasbench_kd.tasks.block_wise import BlockWise

RECIPE = BlockWise(images=64, steps=6, batch=8, scored_images=6)


def stage_data(index: int, dtype: torch.dtype) -> tuple[Stage, torch.Tensor, torch.Tensor]:
    stage = seeded_stages(4, 1, seed=5)[index].to(dtype)
    generator = torch.Generator().manual_seed(index)
    width, side = (3, 8) if index == 0 else (4 * 2 ** (index - 1), 8)
    inputs = torch.randn(3, width, side, side, generator=generator, dtype=dtype)
    out = side if index == 0 else side // 2
    targets = torch.randn(3, 4 * 2**index, out, out, generator=generator, dtype=dtype) + 0.3
    return stage, inputs, targets


@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@pytest.mark.parametrize("index", [0, 1])
def test_exact_and_plain_scores_agree(index: int, dtype: torch.dtype, close: float):
    stage, inputs, targets = stage_data(index, dtype)
    (exact,) = exact_errors(stage, inputs, [targets])
    rng = np.random.default_rng(0)
    for cell in (all_cells()[int(i)] for i in rng.integers(0, len(exact), 60)):
        assert plain_error(stage, inputs, targets, cell.codes) == pytest.approx(exact[cell.index], abs=close)
    dead = [cell.index for cell in all_cells() if not path_edges(cell.codes)]
    assert len(dead) == 341
    assert set(exact[dead]) == {1.0}
    assert 1.0 not in set(np.delete(exact, dead))


def test_several_cells_have_no_exact_scores():
    _, inputs, targets = stage_data(0, torch.float32)
    with pytest.raises(FidelityError, match="cells=1"):
        exact_errors(Stage(0, 4, cells=2), inputs, [targets])


def test_edges_on_a_path_are_those_that_change_the_output():
    cell = ChoiceCell(2).double()
    x = torch.randn(2, 2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for codes in code_matrix()[::97].tolist():
        nodes = [x]
        for target in (1, 2, 3):  # plainly: every edge, zeros where nothing comes
            total = torch.zeros_like(x)
            for edge, (source, end) in enumerate(EDGES):
                if end == target and codes[edge]:
                    total = total + cell.operate(edge, codes[edge], nodes[source])
            nodes.append(total)
        assert torch.allclose(cell(x, tuple(codes)), nodes[3], atol=1e-12)
        alive = any(
            all(codes[EDGES.index(pair)] for pair in itertools.pairwise(path))
            for path in ((0, 3), (0, 1, 3), (0, 2, 3), (0, 1, 2, 3))
        )
        assert bool(path_edges(tuple(codes))) == alive


def test_a_stage_learns_and_leaves_what_it_did_not_draw():
    stage, inputs, _ = stage_data(0, torch.float32)
    with torch.no_grad():  # a target within reach of most paths: what another stage's stem sees
        targets = seeded_stages(4, 1, seed=9)[0].entry(inputs)
    training = StageTraining(stage, inputs, SquaredError(targets), steps=150, batch=3, seed=1)
    losses = [training.step() for _ in range(150)]
    assert np.mean(losses[-30:]) < 0.9 * np.mean(losses[:30])
    one = StageTraining(Stage(0, 4), inputs, SquaredError(targets), steps=1, batch=3, seed=1)
    before = {name: value.clone() for name, value in one.stage.state_dict().items()}
    drawn = one.generator.clone_state()
    one.step()
    torch.randint(len(inputs), (3,), generator=drawn)
    codes = draw_path(drawn)
    for name, value in one.stage.state_dict().items():
        if name.startswith("cells.0.convolutions."):
            _, _, _, edge, operation, _ = name.split(".")
            used = (
                int(edge) in path_edges(codes) and Cell.from_codes(codes).operations[int(edge)] == operation
            )
            assert bool((value != before[name]).any()) == used


def test_teacher_maps_are_normalised_by_the_training_images(tiny_teacher):
    images = torch.randn(40, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    maps = teacher_maps(tiny_teacher, iter(torch.split(images, 16)), torch.float32)
    assert [tuple(level.shape[1:]) for level in maps.levels] == [
        (3, 8, 8),
        (16, 8, 8),
        (32, 4, 4),
        (64, 2, 2),
    ]
    for level in maps.levels[1:]:
        assert level.mean((0, 2, 3)).abs().max() < 1e-4
        assert level.square().mean((0, 2, 3)).sub(1).abs().max() < 1e-3
    other = teacher_maps(tiny_teacher, iter([images[:8]]), torch.float32, maps.moments)
    assert torch.allclose(other.levels[2], maps.levels[2][:8], atol=1e-5)


def test_a_killed_scoring_goes_on_as_if_it_had_not_been(laboratory: Laboratory, tmp_path, monkeypatch):
    whole = BlockWiseScores(laboratory, "tiny", tmp_path / "whole", seed=3, recipe=RECIPE).run()
    monkeypatch.setattr("nasbench_kd.live.block_wise_scores._SAVE_SECONDS", -1.0)

    class Killed(Exception):
        pass

    for end in (
        ("stage 1 trained", 4),
        ("stage 2 trained", 2),
        ("stage 2 scored", 25),
        ("stage 3 trained", 6),
    ):

        def stop(what: str, done: int, every: int, end=end) -> None:
            if (what, done) == end:
                raise Killed

        with pytest.raises(Killed):
            BlockWiseScores(laboratory, "tiny", tmp_path / "killed", seed=3, recipe=RECIPE).run(stop)
    scoring = BlockWiseScores(laboratory, "tiny", tmp_path / "killed", seed=3, recipe=RECIPE)
    resumed = scoring.run()
    np.testing.assert_array_equal(whole, resumed)
    assert scores(resumed)[[cell.index for cell in all_cells() if not path_edges(cell.codes)]].max() == 1.0
    other = BlockWiseScores(laboratory, "tiny", tmp_path / "killed", seed=4, recipe=RECIPE)
    with pytest.raises(DataError, match="another scoring"):
        other.run()
    with pytest.raises(DataError, match="40 validation images"):
        BlockWiseScores(
            laboratory, "tiny", tmp_path / "few", seed=3, recipe=RECIPE._replace(scored_images=41)
        )


def test_scores_become_a_patch_of_the_control(laboratory: Laboratory, tmp_path):
    scoring = BlockWiseScores(laboratory, "tiny", tmp_path / "scores", seed=3, recipe=RECIPE)
    entries = scoring.entries(scoring.run())
    assert {entry.job.curve for entry in entries} == {"dna-random-teacher"}  # its teacher is a control
    named = [replace(entry, job=replace(entry.job, task="cifar10")) for entry in entries]
    write_patch(tmp_path / "patch.json", named)
    (column,) = read_patch(tmp_path / "patch.json")
    assert (str(column.fidelity), column.signals, len(column.rows)) == (
        "dna-random-teacher",
        ("score",),
        15625,
    )
    assert column.provenance["counts"]["images_forward_and_backward_through_each_stage"] == 48
    expected = -scores(scoring.run())
    np.testing.assert_allclose(column.values("score"), expected[column.rows["cell"]], rtol=1e-6)
    index = int(column.rows["cell"][7])
    seconds = RECIPE.scoring_seconds(Cell.from_index(index).codes)
    assert column.rows["microseconds"][7] == pytest.approx(seconds * 1e6, abs=1)
