"""What a gate cannot guard is said, its rules cannot be loosened unseen, and nothing passes without a verdict."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from markdown_it import MarkdownIt
from typer.testing import CliRunner

from nasbench_kd.benchmark.scoring import open_scorer
from nasbench_kd.cli import app
from nasbench_kd.errors import GateError
from nasbench_kd.execution.gate_rules import RULES_KEY, GateRules, RopeOverride, describe_rules, read_rules
from nasbench_kd.execution.runs import read_runs, write_runs
from nasbench_kd.execution.suite import load_suite, parse_suite
from nasbench_kd.gate import gate as gates
from nasbench_kd.gate import reference as references
from nasbench_kd.gate.distance import advice, random_regret, suggested
from nasbench_kd.gate.gate import run_gate
from nasbench_kd.gate.kept_rules import check_kept_rules, loosened
from nasbench_kd.gate.reference import reference_path, save_reference
from nasbench_kd.gate.summary import markdown, next_step
from nasbench_kd.simulation.budget import Budget
from tests.changing_optimizer import BEHAVIOUR
from tests.gate.test_gate import run_in_process

SUITE = parse_suite(
    'name = "near"\ntasks = ["cifar100"]\nbudgets = ["20 evaluations"]\nseeds = 20\n'
    "[gate]\nrope = 0.5\nfirst_stage = 10\nlargest_loss = 0.9\n"
    '[[optimizers]]\nname = "random"\noptimizer = "nasbench_kd_baselines.random_search:RandomSearch"\n'
    '[[optimizers]]\nname = "changing"\noptimizer = "tests.changing_optimizer:Changing"\n'
)
scorers = cache(lambda task: open_scorer(task, "embedded"))


@pytest.fixture(autouse=True)
def _in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BEHAVIOUR, raising=False)
    monkeypatch.setattr(gates, "run_suite", run_in_process)
    monkeypatch.setattr(references, "run_suite", run_in_process)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "near.parquet"
    save_reference(SUITE, path)
    return path


def test_the_expected_regret_of_random_search_agrees_with_drawing():
    scorer = scorers("cifar100")
    rng = np.random.default_rng(0)
    regrets = []
    for _ in range(3000):
        cells = rng.choice(len(scorer.valid), size=20, replace=False)
        seeds = [rng.choice(np.flatnonzero(~np.isnan(scorer.valid[cell]))) for cell in cells]
        won = int(np.argmax(scorer.valid[cells, seeds]))
        regrets.append(scorer.best - scorer.scores([cells[won]], [scorer.seeds[seeds[won]]])[0])
    error = np.std(regrets) / np.sqrt(len(regrets))
    expected = random_regret(scorer, Budget.parse("20 evaluations"), "embedded")
    assert expected == pytest.approx(np.mean(regrets), abs=4 * error)
    assert random_regret(scorer, Budget.parse("1 second"), "embedded") == scorer.uninformed_regret


def test_what_is_as_good_as_random_search_is_not_guarded(saved: Path):
    result = run_gate(SUITE, saved)
    expected = random_regret(scorers("cifar100"), SUITE.budgets[0], "embedded")
    for each in result.comparisons:
        assert each.distance == pytest.approx(expected - each.reference_regret, abs=1.5)
        assert each.guarded == (each.distance > 0.5)
    near = replace(result.comparisons[0], distance=0.3)
    far = replace(result.comparisons[0], distance=0.7)
    text = markdown(replace(result, comparisons=(near, far)))
    assert "1 limits of this gate" in text
    assert "+0.300 points from random search, and 0.5 counts as equivalent" in text


def test_names_are_text_in_a_summary_and_one_word_of_the_next_command(saved: Path):
    result = run_gate(SUITE, saved)
    name = "**b**`|x; rm -rf ~"
    worse = replace(result.comparisons[0], optimizer=name, verdict="worse", reason=name)
    failed = replace(result, suite=name, reference=name, comparisons=(worse,))
    step = next_step(failed, name, name)
    assert step.count(shlex.quote(name)) == 5
    page = MarkdownIt("commonmark").enable("table").parse(markdown(failed, step))
    inline = [child for token in page for child in token.children or ()]
    strong = [inner.content for each, inner in pairwise(inline) if each.type == "strong_open"]
    assert strong == ["worse"]
    assert f"--optimizer {shlex.quote(name)} " in next(c.content for c in inline if "gate-runs" in c.content)


def test_saving_suggests_a_region_that_guards(saved: Path):
    wide = replace(SUITE, gate=GateRules(rope=90.0))
    lines = advice(saved, wide)
    assert sum("replacing it by random search would pass" in line for line in lines) == 2
    assert advice(saved, replace(SUITE, gate=None)) == []
    assert [suggested(value) for value in (0.74, 0.3, 0.05, 0.01, -1.0, np.inf)] == [
        0.3,
        0.1,
        0.02,
        None,
        None,
        None,
    ]


def test_rules_survive_in_the_reference(saved: Path):
    assert SUITE.gate is not None
    overridden = replace(SUITE.gate, overrides=(RopeOverride(0.1, task="cifar100"),))
    assert read_rules(describe_rules(overridden)) == overridden
    assert read_runs(saved).metadata[RULES_KEY] == describe_rules(SUITE.gate)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rope": 0.6}, "rope of random on cifar100 was 0.5 and is 0.6; rope of changing"),
        ({"error": 0.2}, "error was 0.05 and is 0.2"),
        ({"largest_loss": 0.5}, "largest_loss on cifar100 was 0.9 and is 0.5"),
        (
            {"overrides": (RopeOverride(2.0, optimizer="changing"),)},
            "rope of changing on cifar100 was 0.5 and is 2$",
        ),
    ],
)
def test_looser_rules_fail_with_their_difference(saved: Path, change: dict[str, object], message: str):
    assert SUITE.gate is not None
    now = replace(SUITE.gate, **change)
    with pytest.raises(GateError, match=f"the rules are looser.*{message.rstrip('$')}"):
        run_gate(replace(SUITE, gate=now), saved)
    if message.endswith("$"):
        assert loosened(SUITE.gate, now, SUITE, scorers) == [message.rstrip("$")]


def test_stricter_rules_are_used_and_references_without_any_refused(saved: Path, tmp_path: Path):
    assert SUITE.gate is not None
    strict = replace(SUITE.gate, rope=0.4, error=0.01, largest_loss=None)
    assert loosened(SUITE.gate, strict, SUITE, scorers) == []
    stored = read_runs(saved)
    old = tmp_path / "old.parquet"
    write_runs(
        old, stored.table, {name: value for name, value in stored.metadata.items() if name != RULES_KEY}
    )
    with pytest.raises(GateError, match="does not hold the rules that it was made with"):
        run_gate(SUITE, old)
    damaged = tmp_path / "damaged.parquet"
    write_runs(damaged, stored.table, {**stored.metadata, RULES_KEY: {"rope": -1}})
    with pytest.raises(GateError, match="the rules in the reference .* are damaged"):
        run_gate(SUITE, damaged)


def test_a_folder_that_run_wrote_holds_the_rules_of_its_suite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.undo()
    text = (
        'name = "made"\ntasks = ["cifar10"]\nbudgets = ["5 evaluations"]\nseeds = 10\n'
        '[[optimizers]]\noptimizer = "random"\n'
    )
    suite, folder = tmp_path / "made.toml", tmp_path / "made"

    def command(rules: str, *arguments: object) -> tuple[int, str]:
        suite.write_text(text + rules)
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        return result.exit_code, " ".join(result.output.split())

    run = ("run", suite, "--output", folder, "--no-report", "--quiet", "--jobs", "1")
    gate = ("gate", "--suite", suite, "--reference", folder, "--jobs", "1")
    show = ("reference", "show", folder, "--suite", suite)
    rules = "[gate]\nrope = 90.0\nfirst_stage = 10\nlargest_loss = 90.0\n"
    assert command("", *run) == (0, "")
    code, output = command(rules, *gate)
    assert (code, "does not hold the rules that it was made with" in output) == (2, True)
    assert "does not hold the rules" in command(rules, *show)[1]
    assert command(rules, *run) == (0, "")
    assert command(rules, *gate)[0] in (0, 3)
    assert "The gate can compare with it." in command(rules, *show)[1]
    looser = rules.replace("90.0\nfirst", "91.0\nfirst")
    for asked in (gate, show):
        assert "rope of random on cifar10 was 90 and is 91" in command(looser, *asked)[1]
    assert command(looser, *gate)[0] == 2


def test_a_gate_that_does_not_pass_names_the_next_command(saved: Path, monkeypatch: pytest.MonkeyPatch):
    assert next_step(run_gate(SUITE, saved), "near.toml", "main") == ""
    monkeypatch.setenv(BEHAVIOUR, "first answer")
    result = run_gate(SUITE, saved)
    step = next_step(result, "near.toml", "main")
    assert "nasbench-kd gate --suite near.toml --reference main --optimizer changing --task cifar100" in step
    assert "nasbench-kd reference save main --suite near.toml" in step
    open_end = replace(result, comparisons=(replace(result.comparisons[1], verdict="undecided"),))
    assert "more seeds" in next_step(open_end, "near.toml", "main")


@pytest.mark.parametrize(("place", "ending"), [("import", "os._exit(0)"), ("constructor", "sys.exit(0)")])
def test_an_optimizer_that_ends_its_process_gives_no_pass(tmp_path: Path, ending: str, place: str):
    """Unseen, the status 0 of the ended process would be that of a gate that passed."""
    (tmp_path / "leaving.py").write_text(
        "import os, sys\nfrom nasbench_kd import Optimizer\n"
        + (f"{ending}\n" if place == "import" else "")
        + "class Leaving(Optimizer):\n    def __init__(self):\n        "
        + (ending if place == "constructor" else "pass")
        + "\n    def ask(self):\n        return None\n    def tell(self, query, evaluation):\n        pass\n"
    )
    suite = tmp_path / "leaving.toml"
    suite.write_text(
        'name = "leaving"\ntasks = ["cifar10"]\nbudgets = ["5 evaluations"]\nseeds = 5\n'
        '[gate]\nrope = 0.5\nfirst_stage = 5\n[[optimizers]]\nname = "x"\noptimizer = "leaving:Leaving"\n'
    )
    start = "import sys; sys.path.insert(0, '.'); from nasbench_kd.cli import app; app()"
    gate = [sys.executable, "-c", start, "gate", "--suite", str(suite), "--reference", "main"]
    done = subprocess.run(gate, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert "optimizer 'x':" in done.stderr


def test_the_reference_of_this_project_holds_its_rules():
    file = Path(__file__).parents[2] / "suites" / "ci.toml"
    suite = load_suite(file)
    path = reference_path("main", file, suite.name)
    assert suite.gate is not None
    check_kept_rules(read_runs(path), suite, suite.gate, path, scorers)


def test_the_cap_on_memory_is_that_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An optimizer that needs more than the command allows fails there, against the same reference."""
    monkeypatch.undo()
    file = tmp_path / "hungry.toml"
    file.write_text(
        'name = "hungry"\ntasks = ["cifar10"]\nbudgets = ["5 evaluations"]\nseeds = 5\n[gate]\nrope = 0.5\n'
        "first_stage = 5\nlargest_loss = 0.9\n"
        '[[optimizers]]\nname = "hungry"\noptimizer = "hostile_optimizers:NeedsMemory"\n'
    )
    save_reference(load_suite(file), tmp_path / "reference.parquet")
    command = [sys.executable, "-c", "from nasbench_kd.cli import app; app()", "gate", "--suite", str(file)]
    command += ["--reference", str(tmp_path / "reference.parquet")]
    plugins = Path(__file__).parents[1] / "plugins"
    environment = {**os.environ, "PYTHONPATH": str(plugins), "COLUMNS": "300"}
    done = {
        cap: subprocess.run([*command, *cap], capture_output=True, text=True, env=environment)
        for cap in ((), ("--memory", "0.7"))
    }
    assert done[()].returncode in (0, 3), done[()].stderr
    assert done["--memory", "0.7"].returncode in (1, 2)
    assert "MemoryError" in done["--memory", "0.7"].stdout + done["--memory", "0.7"].stderr
