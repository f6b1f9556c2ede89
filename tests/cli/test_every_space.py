"""Every command that looks at a task works for every space that ships, or says in one line why it does not."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from nasbench_kd.cli import app
from nasbench_kd.tasks.registry import SHIPPED, find_task

SPACES = {task.space.name: task.name for task in SHIPPED.values()}
"""The last task of each space."""
OTHERS = {space: task for space, task in SPACES.items() if space != "nas-bench-201"}


def told(*arguments, code=0):
    """What a command prints."""
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


def test_there_are_several_spaces():
    assert set(SPACES) >= {"nas-bench-201", "nas-bench-201-sample", "autoformer", "pit", "kd-resnet"}


@pytest.mark.parametrize("task", SPACES.values())
class TestEverySpace:
    def test_query_gives_the_sizes_of_the_network(self, task):
        found = json.loads(told("query", "7", "--task", task, "--json"))
        assert found["parameters"] == find_task(task).sizes(find_task(task).space[7])["parameters"]

    def test_explain_tells_rank_and_neighbours(self, task, tmp_path):
        pytest.importorskip("matplotlib", reason="needs the extra report")
        text = told("explain", "7", "--task", task, "--data", "embedded", "--figure", str(tmp_path / "seven"))
        space = find_task(task).space
        assert str(space[7]) in text
        ranked = f" of {len(space):,}  "
        assert ranked in text
        # Where nothing was trained twice the noise is not known, and neither is an interval of the rank.
        assert (ranked + "(" in text) == ("no second training anywhere" not in text)
        assert text.count("   cell ") == len(space[7].neighbours())
        assert (tmp_path / "seven.svg").stat().st_size > 10_000

    def test_the_space_is_a_schema(self, task, tmp_path):
        jsonschema = pytest.importorskip("jsonschema")
        told("export", "space", str(tmp_path / "schema.json"), "--task", task)
        schema, space = json.loads((tmp_path / "schema.json").read_text()), find_task(task).space
        jsonschema.validate(dict(zip(space.coordinates, space[7].choices, strict=True)), schema)
        if not space.grid:
            *first, last = space[0].codes
            others = ((*first, code) for code in range(len(space.choices[-1])) if code != last)
            absent = next(codes for codes in others if codes not in space._by_codes)
            named = [names[code] for names, code in zip(space.choices, absent, strict=True)]
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate(dict(zip(space.coordinates, named, strict=True)), schema)

    def test_configspace_takes_what_is_a_grid(self, task, tmp_path):
        pytest.importorskip("ConfigSpace")
        grid = find_task(task).space.grid
        said = told(
            "export",
            "space",
            str(tmp_path / "space.json"),
            "--form",
            "configspace",
            "--task",
            task,
            code=2 * (not grid),
        )
        assert grid or "of its combinations of choices, and ConfigSpace would name others" in " ".join(
            said.split()
        )

    def test_a_script_for_optuna_is_written(self, task, tmp_path):
        told("export", "optuna", str(tmp_path / "search.py"), "--task", task)
        assert (
            f'OptunaObjective("{task}", "{find_task(task).target}")' in (tmp_path / "search.py").read_text()
        )


@pytest.mark.parametrize("task", OTHERS.values())
class TestTheOtherSpaces:
    def test_the_landscape_is_drawn(self, task, tmp_path):
        pytest.importorskip("seaborn", reason="needs the extra report")
        text = told("landscape", str(tmp_path), "--task", task, "--data", "embedded")
        assert f"| {task} | valid |" in text
        assert (tmp_path / "accuracies.png").stat().st_size > 5_000

    def test_syne_tune_gets_all_architectures(self, task, tmp_path):
        size, seeds = len(find_task(task).space), 2 if task == "cifar100-closed" else 1
        assert f"1 tasks, {size} cells, {seeds} seeds, 1 epochs" in told(
            "export", "syne-tune", str(tmp_path / "box"), "--task", task
        )

    def test_live_mode_has_no_trainer_for_it(self, task):
        said = " ".join(told("train", "0", "--task", task, "--fidelity", "none@1", code=2).split())
        assert (
            f"there is no trainer for the networks of {find_task(task).space.name}: live mode trains on"
            in said
        )


@pytest.mark.parametrize(
    ("task", "cell", "fidelity"),
    [
        ("autoformer-cifar100", "150", "none@300 batch=128"),
        ("kd-resnet", "3", "none@200"),
        ("cifar100-closed", "3", "none@199"),
        ("cifar100", "3", "none@199"),
    ],
)
def test_a_missing_entry_is_to_be_measured_only_where_there_is_a_trainer(task, cell, fidelity):
    said = " ".join(told("query", cell, "--task", task, "--fidelity", fidelity, code=2).split())
    assert ("nasbench-kd fill" in said) == (task == "cifar100")
    assert (f"no trainer for the networks of {find_task(task).space.name}" in said) == (task != "cifar100")


def test_a_suite_over_all_of_them_is_reported_drawn_and_replayed(tmp_path):
    pytest.importorskip("seaborn", reason="needs the extra report")
    suite, folder = tmp_path / "all.toml", str(tmp_path / "out")
    suite.write_text(
        f'name = "all"\ntasks = {json.dumps(list(SPACES.values()))}\nbudgets = ["4 evaluations"]\nseeds = 2\n'
        '[[optimizers]]\noptimizer = "random"\n[[optimizers]]\noptimizer = "local-search"\n'
    )
    told("run", str(suite), "--output", folder, "--jobs", "1", "--quiet")
    told("report", folder, "--html", "--markdown")
    board = (tmp_path / "out" / "leaderboard.md").read_text()
    assert "**Hours are a rule and no measurement** (autoformer-chaoyang, pit-chaoyang, kd-resnet)" in board
    page = (tmp_path / "out" / "report.html").read_text()
    (texts,) = re.findall(r'"texts": ?(\{.*?\}\})', page)
    texts = json.loads(texts)
    assert len(texts) == len(OTHERS)  # cells are drawn, the others are told in words
    assert all("=" in text or text.startswith("|") for each in texts.values() for text in each.values())
    count = 2 * 2 * len(SPACES)
    assert f"{count} of {count} runs agree" in told("verify", folder)


def test_the_doctor_examines_the_tables_of_all_spaces():
    text = told("doctor")
    for task in SPACES.values():
        assert f": {task} {find_task(task).target} valid" in text
    assert "for 64 of 64 cells" in text
    assert "no problems found" in text


def test_a_blackbox_is_of_one_space(tmp_path):
    said = told(
        "export", "syne-tune", str(tmp_path / "box"), "--task", "kd-resnet", "--task", "pit-cifar100", code=2
    )
    assert "a blackbox is of one search space" in " ".join(said.split())
    assert not (tmp_path / "box").exists()


def test_a_script_for_optuna_searches_a_sample(tmp_path):
    pytest.importorskip("optuna", reason="needs the extra search")
    told("export", "optuna", str(tmp_path / "search.py"), "--task", "pit-cifar100")
    script = (tmp_path / "search.py").read_text().replace("n_trials=100", "n_trials=5")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "width=" in done.stdout
