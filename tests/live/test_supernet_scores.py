"""Scores by shared weights: killed runs go on as if they had not been, entries carry their price, taus are known."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau
from typer.testing import CliRunner

import nasbench_kd as nk
from nasbench_kd.cli import app
from nasbench_kd.errors import DataError
from nasbench_kd.live.export import write_patch
from nasbench_kd.live.laboratory import Laboratory
from nasbench_kd.live.supernet import scores as module
from nasbench_kd.live.supernet.scores import SupernetScores, answers, correlation
from nasbench_kd.live.supernet.supernet import seeded_supernet
from nasbench_kd.spaces.complexity import parameters
from nasbench_kd.spaces.nasbench201 import Cell, all_cells
from nasbench_kd.spaces.training_seconds import FORWARD, seconds_per_image
from nasbench_kd.tables.patch import read_patch
from nasbench_kd.tasks.fidelity import SCORES, Fidelity
from nasbench_kd.tasks.nasbench201 import TASKS
from nasbench_kd.tasks.shared_weights import SUPERNETS, SharedWeights

TINY = SharedWeights(epochs=2, images=48, batch=16, cells_per_stage=1)
FEW_SHOT = TINY._replace(split_edge=0, parent_epochs=2, epochs=1)
DEAD = Cell.from_codes((0,) * 6)
CELLS = [*(all_cells()[index] for index in (9930, 1835, 77)), DEAD]


class Killed(Exception):
    pass


@pytest.mark.parametrize("recipe", [TINY, FEW_SHOT], ids=["one", "few-shot"])
def test_interrupted_anywhere_it_ends_with_the_same_scores(laboratory, tmp_path, monkeypatch, recipe):
    def scoring(place: str) -> SupernetScores:
        return SupernetScores(
            laboratory, "tiny", tmp_path / place, name="supernet-small", seed=3, recipe=recipe
        )

    whole = scoring("whole").run(CELLS)
    assert whole[DEAD.index] == 25  # a dead cell guesses among four classes
    monkeypatch.setattr(module, "_SAVE_SECONDS", -1.0)
    wanted = (
        [("trained", 4), ("scored", 2)]
        if recipe == TINY
        else [("trained", 4), ("trained 3 of 5", 2), ("scored", 1)]
    )
    for end in wanted:

        def stop(what: str, done: int, every: int, end=end) -> None:
            if (what, done) == end:
                raise Killed

        with pytest.raises(Killed):
            scoring("parts").run(CELLS, stop)
    last = scoring("parts")
    assert last.run(CELLS) == whole
    counts = last.record(whole)["counts"]
    assert (
        counts["images_forward_and_backward"]
        == (recipe.parent_epochs + recipe.supernets * recipe.epochs) * 48
    )
    more = last.run([*CELLS, all_cells()[15000]])
    assert more.keys() - whole.keys() == {15000}
    other = SupernetScores(
        laboratory, "tiny", tmp_path / "parts", name="supernet-small", seed=4, recipe=recipe
    )
    with pytest.raises(DataError, match="another supernet"):
        other.run(CELLS)


def test_sub_supernets_start_from_the_weights_of_their_parent_or_from_their_own(
    laboratory, tmp_path, monkeypatch
):
    seen = []

    def starting(self) -> float:
        if self.steps == 0:
            seen.append({name: value.clone() for name, value in self.supernet.state_dict().items()})
        return plain(self)

    plain = module.SharedTraining.step
    monkeypatch.setattr(module.SharedTraining, "step", starting)
    for place, recipe in (("parent", FEW_SHOT), ("own", FEW_SHOT._replace(parent_epochs=0))):
        seen.clear()
        scoring = SupernetScores(
            laboratory, "tiny", tmp_path / place, name="supernet-small-few-shot", seed=3, recipe=recipe
        )
        scoring.run(CELLS[:1])
        initial = seeded_supernet(4, seed=3, cells_per_stage=1).state_dict()
        assert all(seen[0][name].equal(value) for name, value in initial.items())
        assert len(seen) == (6 if recipe.parent_epochs else 5)
        parent = torch.load(tmp_path / place, weights_only=True)["parent"] or initial
        for weights in seen[1:]:
            assert all(weights[name].equal(value) for name, value in parent.items())
        assert (parent is initial) == (place == "own")


SCRIPT = """
import sys
from pathlib import Path
import torch
from nasbench_kd.live.laboratory import Laboratory, Sources
from nasbench_kd.live.supernet import scores
from nasbench_kd.spaces.nasbench201 import Cell
from nasbench_kd.tasks.shared_weights import SharedWeights

torch.set_num_threads(1)
scores._SAVE_SECONDS = -1.0
folder = Path(sys.argv[1])
laboratory = Laboratory(Sources(folder, folder, {}), dtype=torch.float32)
recipe = SharedWeights(epochs=6, images=48, batch=4, cells_per_stage=1)
scoring = scores.SupernetScores(
    laboratory, "tiny", folder / sys.argv[2], name="supernet-small", seed=3, recipe=recipe
)
print(scoring.run([Cell.from_index(9930)], lambda what, done, every: print(what, done, flush=True)))
"""


def test_a_training_that_is_killed_goes_on(laboratory, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path), "killed"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line == "trained 20\n":
            time.sleep(0.01 * np.random.default_rng(os.getpid()).random())  # wherever it may be
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    assert process.returncode == -signal.SIGKILL
    recipe = SharedWeights(epochs=6, images=48, batch=4, cells_per_stage=1)
    first = []

    def run(place: str) -> dict[int, float]:
        scoring = SupernetScores(
            laboratory, "tiny", tmp_path / place, name="supernet-small", seed=3, recipe=recipe
        )
        first.clear()
        return scoring.run(CELLS[:1], lambda what, done, every: first.append(done))

    resumed = run("killed")
    assert first[0] > 20
    assert resumed == run("whole")
    assert first[0] == 1


def test_entries_are_a_patch_at_the_price_of_a_pass(laboratory: Laboratory, tmp_path, monkeypatch):
    scoring = SupernetScores(laboratory, "tiny", tmp_path / "s", name="supernet-small", seed=3, recipe=TINY)
    found = scoring.run(CELLS)
    with pytest.raises(DataError, match="another recipe"):
        scoring.entries(found)
    monkeypatch.setattr(module, "SUPERNETS", {"supernet-small": TINY})
    named = [replace(entry, job=replace(entry.job, task="cifar10")) for entry in scoring.entries(found)]
    write_patch(tmp_path / "patch.json", named)
    (column,) = read_patch(tmp_path / "patch.json")
    assert str(column.fidelity) == "supernet-small"
    assert column.rows["cell"].tolist() == sorted(found)
    np.testing.assert_allclose(column.values("score"), [found[index] for index in sorted(found)], rtol=1e-6)
    seconds = [40 * FORWARD * seconds_per_image(Cell.from_index(index).codes, 1) for index in sorted(found)]
    np.testing.assert_allclose(column.rows["microseconds"], 1e6 * np.array(seconds), atol=1)
    assert column.provenance["recipe"]["sampler"] == "uniform"
    assert column.provenance["images"]["images_sha256"]


def test_the_command_trains_scores_answers_and_exports(laboratory, tmp_path, monkeypatch):
    monkeypatch.setattr("nasbench_kd.cli.scoring.trainable", lambda name: TASKS["cifar10"])
    monkeypatch.setattr("nasbench_kd.cli.scoring._laboratory", lambda *_: (laboratory, tmp_path))
    monkeypatch.setattr(module, "SUPERNETS", {"supernet-small-few-shot": FEW_SHOT})
    words = (
        "score supernet --task tiny --paths few-shot --small --architectures 12 --seed 3 --one-batch --export"
    )
    result = CliRunner().invoke(app, [*words.split(), str(tmp_path / "patch.json")])
    assert result.exit_code == 0, result.output
    assert "vote of the best tenth: cell" in result.output
    assert "best on one batch of 512 each: cell" in result.output
    assert "12 scores written" in result.output
    (patch,) = json.loads((tmp_path / "patch.json").read_text())["patches"]
    assert (patch["curve"], len(patch["entries"])) == ("supernet-small-few-shot", 12)
    assert patch["provenance"]["counts"]["images_forward_and_backward"] == 7 * 48
    fewer = CliRunner().invoke(app, words.replace("--export", "").replace("12", "5").split())
    assert "5 scores; a search pays" in fewer.output  # what is asked for, whatever was scored before


def test_searches_pay_for_the_weights_by_counted_passes():
    bench = TASKS["cifar10"]
    prices = {each.name: each.seconds for each in bench.prerequisites}
    assert prices["supernet"] == pytest.approx(250 * 9.13, rel=1e-3)  # RSPS without the passes of its log
    assert prices["supernet-fair"] == pytest.approx(5 * prices["supernet"])
    assert prices["supernet-few-shot"] == pytest.approx((250 + 5 * 62) / 250 * prices["supernet"])
    other = {each.name: each.seconds for each in TASKS["imagenet16-120"].prerequisites}
    assert other["supernet"] == pytest.approx(6.068 * prices["supernet"])
    assert other["supernet-small"] == prices["supernet-small"]
    for name in SUPERNETS:
        assert SCORES[name] == (name,)
        assert Fidelity.parse(name).needs == (name,)


def test_the_measured_correlation_is_with_short_trainings():
    cells = np.arange(0, 15625, 150)
    short = nk.load("cifar100", data="embedded").evaluate_many(cells, "none@12").valid_accuracy
    numbers = [parameters(Cell.from_index(int(cell)), 100) for cell in cells]
    for sign in (1, -1):
        found = correlation("cifar100", dict(zip(cells.tolist(), sign * short, strict=True)))
        assert found is not None
        assert found["cells"] == len(cells)
        assert found["tau, low, high"]["all"][0] == sign
        assert found["tau, low, high"]["better_half"][0] == sign
        size = found["tau, low, high of parameters"]
        assert size["all"][1] < size["all"][0] < size["all"][2] < 1
        assert abs(size["all"][0] - kendalltau(numbers, short)[0]) < 1e-3
    assert correlation("cifar100", {1: 2.0}) is None
    assert correlation("tiny", dict(zip(cells.tolist(), short, strict=True))) is None


def test_answers_are_the_best_and_the_vote():
    ranked = [
        Cell.from_codes(codes).index for codes in ((3, 0, 3, 1, 3, 3), (3, 1, 3, 2, 3, 0), (3, 1, 1, 2, 3, 3))
    ]
    scores = {index: 90.0 - place for place, index in enumerate(ranked)}
    scores |= dict.fromkeys(range(27), 1.0)
    found = answers(scores)
    assert found["best score"].index == ranked[0]
    assert found["vote of the best tenth"].codes == (3, 1, 3, 2, 3, 3)
