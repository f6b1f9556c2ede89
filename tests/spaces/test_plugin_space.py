"""A space, a task and its table from outside the package go the whole way: query, run, report, verify, gate."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nasbench_kd.tables.column import Column, make_rows
from nasbench_kd.tables.table import write_table
from nasbench_kd.tasks.fidelity import Fidelity

HERE = Path(__file__).parents[1]
SUITE = """
name = "toy"
tasks = ["toy-letters"]
budgets = ["5 evaluations", "12 evaluations"]
seeds = 20
[[optimizers]]
name = "climb"
optimizer = "toy_space:Climb"
[[optimizers]]
optimizer = "random"
[[optimizers]]
name = "evolution"
optimizer = "regularized-evolution"
[gate]
rope = 20.0
"""


def accuracy(seed: int) -> np.ndarray:
    """Validation answers of 500: deeper, wider, larger kernels do better, with a noise of the seed; shape (60,)."""
    depth, width, kernel = np.meshgrid(range(5), range(4), range(3), indexing="ij")
    noise = np.random.default_rng(seed).integers(-9, 10, (5, 4, 3))
    return (200 + 30 * depth + 25 * width + 20 * kernel + noise).ravel()


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder that holds the package as an installer would leave it."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(HERE / "plugins" / "toy_space.py", folder)
    info = folder / "toy_space-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-space\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[nasbench_kd.tasks]\ntoy-letters = toy_space:TASK\n")
    columns = [
        Column(
            "toy-letters",
            Fidelity.parse(fidelity),
            "valid",
            500,
            make_rows(
                np.repeat(np.arange(60), 3),
                np.tile([1, 2, 3], 60),
                np.stack([accuracy(seed + shift) - shift for seed in (1, 2, 3)], axis=1).ravel(),
                np.full(180, seconds * 1_000_000),
            ),
            {"source": "measured"},
        )
        for fidelity, seconds, shift in (("kd@30", 3600, 0), ("none@30", 1800, 40))
    ]
    write_table(folder / "toy_table", "toy", columns, {"title": "toy", "licence": "none"})
    (folder / "toy.toml").write_text(SUITE)
    return folder


def command(site: Path, *arguments: str, code: int = 0) -> str:
    """What `nasbench-kd` prints where the package is installed."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(site), os.environ.get("PYTHONPATH", ""))),
        "NASBENCH_KD_DATA": str(site / "user"),
    }
    done = subprocess.run(
        [sys.executable, "-m", "nasbench_kd", *arguments],
        cwd=site, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_task_is_listed_and_its_entries_are_found(site):
    assert "toy-letters" in [task["name"] for task in json.loads(command(site, "tasks", "--json"))]
    told = json.loads(command(site, "query", "depth=2 width=16 kernel=5", "--task", "toy-letters", "--json"))
    index = 1 * 12 + 1 * 3 + 2
    assert (told["index"], told["fidelity"], told["parameters"]) == (index, "kd@30", 800)
    assert [each["valid_accuracy"] for each in told["evaluations"]] == pytest.approx(
        [accuracy(seed)[index] / 5 for seed in (1, 2, 3)]
    )
    error = command(site, "query", "depth=9 width=16 kernel=5", "--task", "toy-letters", code=2)
    assert "depth of toy is one of 1, 2, 3, 4, 5" in error
    assert "Did you mean 'toy-letters'" in command(site, "query", "0", "--task", "toy-letter", code=2)


def test_a_suite_runs_and_is_reported_verified_and_gated(site):
    command(site, "run", "toy.toml", "--output", "out", "--jobs", "2")
    report = (site / "out" / "leaderboard.md").read_text()
    assert "toy-letters" in report
    assert "climb" in report
    assert "random" in report
    assert "Answers are judged after distillation" in report
    assert "Distillation wins" not in report
    command(site, "verify", "out")
    command(site, "reference", "save", "main", "--suite", "toy.toml")
    assert "equivalent" in command(site, "gate", "--suite", "toy.toml", "--reference", "main")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("query", "7", "--task", "toy-letters"), "0.00"),
        (
            ("explain", "7", "--task", "toy-letters", "--figure", "seven"),
            "rank by mean validation accuracy after 30",
        ),
        (("landscape", "drawn", "--task", "toy-letters"), "toy-letters seed 1"),
        (("doctor", "toy_table"), "180 entries (single seeds) for 60 of 60 cells"),
        (("doctor",), "toy: toy-letters kd@30 valid"),
        (
            ("export", "syne-tune", "blackbox", "--task", "toy-letters"),
            "1 tasks, 60 cells, 3 seeds, 1 epochs",
        ),
        (("export", "optuna", "toy_search.py", "--task", "toy-letters"), "written to"),
        (("export", "space", "schema.json", "--task", "toy-letters"), "written to"),
    ],
)
def test_every_command_of_a_task_takes_it(site, arguments, told):
    assert told in command(site, *arguments)


def test_live_mode_says_that_it_has_no_trainer_for_it(site):
    for arguments in (("train", "0"), ("fill",), ("score", "rmi"), ("score", "dna"), ("teacher", "train")):
        fidelity = ("--fidelity", "kd@30") if arguments[0] in ("train", "fill") else ()
        told = command(site, *arguments, "--task", "toy-letters", *fidelity, code=2)
        assert "there is no trainer for the networks of toy: live mode trains on cifar10, cifar100" in told


def test_a_method_that_needs_more_is_refused_in_words(site):
    suite = 'name = "needy"\ntasks = ["toy-letters"]\nbudgets = ["5 evaluations"]\nseeds = 1\n'
    (site / "needy.toml").write_text(
        suite + '[[optimizers]]\nname = "n"\noptimizer = "toy_space:NeedsPaths"\n'
    )
    told = command(site, "run", "needy.toml", "--output", "needy", "--no-report", code=2)
    assert (
        "NeedsPaths needs paths, which the task toy-letters does not offer; it offers toy, codes, one-hot, sizes, "
        "teacher. Take a task that does, or a method that needs less: arch2vec, "
    ) in told
    assert "npenas" not in told
