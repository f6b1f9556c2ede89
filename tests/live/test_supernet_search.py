"""Searches over shared weights by their command: killed ones go on, answers are recorded, bad words refused."""

from __future__ import annotations

import json

import pytest
import torch
from typer.testing import CliRunner

from nasbench_kd.cli import app
from nasbench_kd.errors import DataError
from nasbench_kd.live.methods import searches
from nasbench_kd.live.supernet import search as module
from nasbench_kd.live.supernet.differentiable import _Run
from nasbench_kd.live.supernet.gradients import implicit
from nasbench_kd.live.supernet.relaxations import softmax
from nasbench_kd.live.supernet.search import Recipe, SupernetSearch, look_up
from nasbench_kd.live.supernet.supernet import seeded_supernet
from nasbench_kd.spaces.nasbench201 import Cell
from nasbench_kd.spaces.training_seconds import FORWARD, seconds_per_image
from nasbench_kd.tasks.nasbench201 import TASKS

TINY = Recipe(epochs=2, images=32, cells_per_stage=1, candidates=3, updates=1)


class Killed(Exception):
    pass


@pytest.mark.parametrize("method", ["darts-v2", "setn", "enas"])
def test_interrupted_anywhere_it_ends_with_the_same_record(laboratory, tmp_path, monkeypatch, method: str):
    recipe = TINY._replace(images=None) if method == "setn" else TINY  # one of them augmented

    def searching(place: str) -> SupernetSearch:
        return SupernetSearch(laboratory, "tiny", tmp_path / place, method=method, seed=3, recipe=recipe)

    def record(search: SupernetSearch) -> dict:
        search.run()
        found = search.record()
        assert found.pop("measured_seconds")["all"] >= 0
        return found

    whole = record(searching("whole"))
    monkeypatch.setattr(module, "_SAVE_SECONDS", -1.0)
    ends = [("trained", 1), ("trained", 2), *([] if method == "darts-v2" else [("judged", 2)])]
    for end in ends:

        def stop(what: str, done: int, every: int, end=end) -> None:
            if (what, done) == end:
                raise Killed

        with pytest.raises(Killed):
            searching("parts").run(stop)
    assert record(searching("parts")) == whole
    assert record(searching("parts")) == whole  # and again, when nothing is left to do
    for other, words in (
        (recipe._replace(epochs=3), "epochs: 2 there, 3 here"),
        (recipe, "seed: 3 there, 4 here"),
    ):
        with pytest.raises(DataError, match=words):
            SupernetSearch(
                laboratory,
                "tiny",
                tmp_path / "parts",
                method=method,
                seed=3 + ("seed" in words),
                recipe=other,
            ).run()
    if method == "enas":
        judged = sum(
            32 * FORWARD * seconds_per_image(Cell.from_index(int(cell)).codes, 1)
            for cell in whole["candidates"]
        )
        assert 0 < judged < whole["counted_seconds"]
        assert whole["counts"]["images_forward_through_one_architecture"] > 16 * len(whole["candidates"])
        assert whole["candidates"][str(whole["answer"]["cell"])] == max(whole["candidates"].values())


def test_every_method_has_its_answer_looked_up(laboratory, tmp_path, monkeypatch):
    monkeypatch.setattr("nasbench_kd.cli.scoring.trainable", lambda name: TASKS["cifar10"])
    monkeypatch.setattr("nasbench_kd.cli.scoring._laboratory", lambda *_: (laboratory, tmp_path))
    monkeypatch.setattr(module, "SMALL", TINY)
    for method in searches():
        words = ["search-supernet", method, "--task", "tiny", "--small", "--epochs", "1", "--export"]
        bound = ["--bound", "3"] if method == "rc-darts" else []
        result = CliRunner().invoke(app, [*words, str(tmp_path / "record.json"), *bound])
        assert result.exit_code == 0, result.output
        assert f"answer of {method}: cell" in result.output
        assert "this shows that the method runs, not what it finds" in result.output
        record = json.loads((tmp_path / "record.json").read_text())
        assert (record["method"], record["recipe"]["epochs"], record["seed"]) == (method, 1, 777)
        assert record["images"]["held_out_from"] == "training"
        assert record["images"]["weights"] == record["images"]["held_out"] == 16
        assert f"{record['counted_seconds']:,.1f} s on the table's clock" in result.output
    words = [
        "search-supernet",
        "setn",
        "--task",
        "tiny",
        "--small",
        "--held-out",
        "validation",
        "--one-batch",
    ]
    result = CliRunner().invoke(app, [*words, "--seed", "5", "--export", str(tmp_path / "record.json")])
    assert "no fair signal of this answer" in result.output.replace("\n", " ")
    record = json.loads((tmp_path / "record.json").read_text())
    assert record["judged_on"] == "one batch of 512 each"
    assert (record["images"]["weights"], record["images"]["held_out"]) == (32, 40)


def test_gradients_of_second_order_are_those_of_float64_in_float32_alone(halves):
    """Which is why searches do not take the bfloat16 of other trainings."""
    found = {}
    images, labels = halves[1].batch(torch.arange(32)), halves[1].labels
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        supernet = seeded_supernet(4, seed=1, channels=8, cells_per_stage=1)
        supernet = supernet.double() if dtype == torch.float64 else supernet
        names = [f"supernet.{name}" for name, _ in supernet.named_parameters()]

        run = _Run(supernet, hard=False)

        def loss(weights, alphas, part, run=run, names=names, dtype=dtype):
            inputs = (images[part].to(dtype), softmax(alphas))
            logits = torch.func.functional_call(run, dict(zip(names, weights, strict=True)), inputs)
            return torch.nn.functional.cross_entropy(logits, labels[part])

        weights = list(supernet.parameters())
        alphas = torch.full((6, 5), 0.1, dtype=weights[0].dtype).triu().requires_grad_()
        train, valid = (
            lambda w, a, part=part, loss=loss: loss(w, a, part) for part in (slice(16), slice(16, None))
        )
        found[dtype] = implicit(train, valid, weights, alphas, rate=0.01).double()

    def error(dtype) -> float:
        return float((found[dtype] - found[torch.float64]).norm() / found[torch.float64].norm())

    assert error(torch.float32) < 0.1 < 0.2 < error(torch.bfloat16)


def test_searches_are_in_float32_whatever_the_laboratory_takes(laboratory, tmp_path):
    assert laboratory.dtype == torch.float32
    laboratory.dtype = torch.bfloat16
    search = SupernetSearch(laboratory, "tiny", tmp_path / "s", method="gdas", seed=3, recipe=TINY)
    for images in (search._train, search._held_out):
        assert images.batch(torch.arange(2)).dtype == torch.float32
    shortened = []
    search.run(lambda *_: shortened.append(torch.backends.cudnn.allow_tf32))
    assert set(shortened) == {False}
    assert torch.backends.cudnn.allow_tf32  # as before


def test_the_table_is_asked_for_the_answer_alone():
    best = look_up("cifar100", Cell.from_index(9930))
    skips = look_up("cifar100", Cell.from_index(1835))
    assert best is not None
    assert skips is not None
    assert look_up("tiny", Cell.from_index(9930)) is None
    assert best.accuracy == pytest.approx(73.49, abs=0.01)  # as published
    assert skips.accuracy == pytest.approx(15.03, abs=0.01)
    assert skips.regret - best.regret == pytest.approx(best.accuracy - skips.accuracy)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("dart-v1 --task cifar10", "Did you mean 'darts-v1'"),
        ("rc-darts --task cifar10", "needs a finite bound"),
        ("rc-darts --task cifar10 --bound inf", "needs a finite bound"),
        ("gdas --task cifar10 --bound 3", "knows no bound"),
        ("gdas --task cifar1", "Did you mean 'cifar10"),
        ("gdas --task cifar10 --epochs 0", "epochs"),
        ("gdas --task cifar10 --small --export {folder}", "is a folder"),
        ("gdas --task cifar10 --small --export {folder}/file/record.json", "cannot be written"),
        ("gdas --task cifar10 --small --images {folder}/none --folder {folder}", "--download"),
    ],
)
def test_bad_words_are_refused_before_any_work(tmp_path, words: str, said: str):
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(app, ["search-supernet", *words.format(folder=tmp_path).split()])
    assert result.exit_code == 2
    assert said in f"{result.output} {result.exception}"
