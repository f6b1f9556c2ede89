"""The gate says what changed, passes what did not, and refuses what it cannot compare."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner

import nasbench_kd as nk
from nasbench_kd.benchmark.scoring import NOT_SHOWN, open_scorer
from nasbench_kd.cli import app, gating
from nasbench_kd.errors import GateError, StoreError, SuiteError, UnknownNameError
from nasbench_kd.execution.gate_rules import RULES_KEY, GateRules, RopeOverride, describe_rules
from nasbench_kd.execution.jobs import run_seed
from nasbench_kd.execution.making import make_run
from nasbench_kd.execution.runs import decode, read_runs, write_runs
from nasbench_kd.execution.study import RUNS_FILE, plan
from nasbench_kd.execution.suite import Suite, load_suite, parse_suite
from nasbench_kd.gate import gate as gates
from nasbench_kd.gate import reference as references
from nasbench_kd.gate import summary as gate_summary
from nasbench_kd.gate.gate import GateResult, run_gate
from nasbench_kd.gate.reference import check_reference, readable_at, reference_path, save_reference
from nasbench_kd.gate.regrets import Regrets, mean_regrets
from tests.changing_optimizer import BEHAVIOUR

TEXT = """
name = "small"
tasks = ["cifar10", "cifar100"]
budgets = ["5 evaluations", "20 evaluations"]
seeds = 40

[gate]
rope = 0.5
first_stage = 10
largest_loss = 0.9

[[optimizers]]
name = "steady"
optimizer = "nasbench_kd_baselines.random_search:RandomSearch"

[[optimizers]]
name = "changing"
optimizer = "tests.changing_optimizer:Changing"
"""
SUITE = parse_suite(TEXT)
CHANGING = replace(SUITE, optimizers=SUITE.optimizers[1:])


def run_in_process(suite: Suite, folder: Path, **options: object) -> None:
    """The same runs as those of `run_suite`, without its processes: isolation has tests of its own."""
    jobs = plan(suite)
    tables = {name: sha256 for job in jobs for name, sha256 in job.conditions.tables.items()}
    batches = [decode(make_run(job).payload) for job in sorted(jobs, key=lambda job: job.key)]
    metadata = {"suite": suite.describe(), "tables": tables}
    if suite.gate is not None:
        metadata[RULES_KEY] = describe_rules(suite.gate)
    write_runs(folder / RUNS_FILE, batches, metadata)


@pytest.fixture(autouse=True)
def _in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BEHAVIOUR, raising=False)
    monkeypatch.setattr(gates, "run_suite", run_in_process)
    monkeypatch.setattr(references, "run_suite", run_in_process)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A suite's file with its reference beside it."""
    folder = tmp_path_factory.mktemp("suites")
    (folder / "small.toml").write_text(TEXT)
    path = reference_path("main", folder / "small.toml", "small", new=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(references, "run_suite", run_in_process)
        save_reference(SUITE, path)
    return path


benchmark = cache(lambda task: nk.load(task, data="embedded"))
Changed = Callable[[str], GateResult]


@pytest.fixture
def changed(saved: Path, monkeypatch: pytest.MonkeyPatch) -> Changed:
    """Hold the changing optimizer to the reference after it has changed in some way."""

    def behave(behaviour: str, suite: Suite = SUITE) -> GateResult:
        monkeypatch.setenv(BEHAVIOUR, behaviour)
        return run_gate(suite, saved, optimizers=["changing"])

    return behave


def test_unchanged_code_passes_at_the_first_look_with_differences_of_exactly_zero(saved: Path):
    looks = []
    result = run_gate(SUITE, saved, on_stage=lambda *look: looks.append(look))
    assert looks == [(10, 8)]
    assert result.exit_code == 0
    assert [(each.optimizer, each.task, each.budget) for each in result.comparisons] == [
        (name, task, budget)
        for name in ("steady", "changing")
        for task in ("cifar10", "cifar100")
        for budget in ("5 evaluations", "20 evaluations")
    ]
    for each in result.comparisons:
        assert (each.verdict, each.pairs, each.identical) == ("equivalent", 10, 10)
        assert each.low == each.high == each.difference == 0
        assert each.regret > 0


def test_a_loss_is_worse_and_its_size_is_right(changed: Changed):
    """The differences are worked out again from single searches and the scorer."""
    result = changed("first answer")
    assert result.exit_code == 1
    for each in result.comparisons:
        assert each.verdict == "worse"
        scorer = open_scorer(each.task, "embedded")
        budget = int(each.budget.split()[0])
        differences = []
        for repetition in range(each.pairs):
            run = nk.search(
                "nasbench_kd_baselines.random_search:RandomSearch",
                task=benchmark(each.task),
                budget=each.budget,
                seed=run_seed("small", "changing", each.task, repetition),
            )
            assert len(run.steps) == budget
            best = max(run.steps, key=lambda step: step.valid_accuracy)
            first = run.steps[0]
            scores = scorer.scores([best.cell, first.cell], [best.seed, first.seed])
            differences.append(scores[0] - scores[1])
        assert each.difference == pytest.approx(np.mean(differences))
        assert (each.low + each.high) / 2 == pytest.approx(np.mean(differences))
        assert each.low > each.rope == 0.5


def test_a_gain_is_better_and_passes(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(BEHAVIOUR, "first answer")
    worse = tmp_path / "worse.parquet"
    save_reference(SUITE, worse)
    monkeypatch.setenv(BEHAVIOUR, "")
    result = run_gate(SUITE, worse, tasks=["cifar100"])
    assert result.exit_code == 0
    assert result.counts == {"better": 2, "equivalent": 2, "worse": 0, "undecided": 0}
    assert {each.verdict for each in result.comparisons if each.optimizer == "changing"} == {"better"}


def test_other_draws_need_more_seeds_and_end_undecided_at_the_cap(saved: Path, tmp_path: Path, monkeypatch):
    """With nothing shared the noise is too large for this region and 40 pairs; the steady one stays decided."""
    monkeypatch.setenv(BEHAVIOUR, "other draws")
    narrow = replace(SUITE, gate=GateRules(rope=0.05, first_stage=10, largest_loss=0.05))
    looks = []
    loose = altered(saved, tmp_path / "loose.parquet", gate=describe_rules(GateRules(90.0, 0.4, 10, 0.01)))
    result = run_gate(narrow, loose, on_stage=lambda *look: looks.append(look))
    assert looks == [(10, 8), (20, 4), (40, 4)]
    assert result.exit_code == 3
    for each in result.comparisons:
        expected = ("equivalent", 10) if each.optimizer == "steady" else ("undecided", 40)
        assert (each.verdict, each.pairs) == expected
        assert each.low < each.difference < each.high or each.optimizer == "steady"


def test_a_wide_region_makes_other_draws_equivalent(saved: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setenv(BEHAVIOUR, "other draws")
    rules = GateRules(rope=0.01, first_stage=20, overrides=(RopeOverride(90.0, optimizer="changing"),))
    loose = altered(saved, tmp_path / "loose.parquet", gate=describe_rules(rules))
    result = run_gate(replace(SUITE, gate=rules), loose, optimizers=["changing"])
    assert {(each.verdict, each.rope, each.pairs) for each in result.comparisons} == {
        ("equivalent", 90.0, 20)
    }
    assert not any(each.identical == each.pairs for each in result.comparisons)


def test_too_few_equal_pairs_are_undecided_and_say_how_many_are_needed(saved: Path):
    """Forty equal pairs miss a loss in 5 % of the runs in 13 % of gates: 0.95^40."""
    result = run_gate(replace(SUITE, gate=GateRules(rope=0.5, first_stage=10)), saved, tasks=["cifar100"])
    assert result.exit_code == 3
    for each in result.comparisons:
        assert (each.verdict, each.identical, each.pairs) == ("undecided", 40, 40)
        scorer = open_scorer("cifar100", "embedded")
        assert each.largest_loss == scorer.best - scorer.uninformed
        # The fair bet alone needs log(4 comparisons / 0.05) / -log(1 - rope / largest) pairs.
        least = np.log(4 / 0.05) / -np.log(1 - 0.5 / each.largest_loss)
        needed = result.test.pairs_needed(0.5, each.largest_loss)
        assert least < needed < 1.1 * least
        assert f"even without any difference {needed} pairs are needed" in each.reason


def test_a_run_that_fails_makes_its_optimizer_worse_with_the_reason(changed: Changed):
    result = changed("fails")
    assert result.exit_code == 1
    assert {each.verdict for each in result.comparisons} == {"worse"}
    assert "10 of 10 runs failed: RuntimeError in tell: <forgot>" in result.comparisons[0].reason


def test_an_optimizer_that_stops_answering_is_worse(changed: Changed):
    assert {each.verdict for each in changed("no answer").comparisons} == {"worse"}


def test_worse_goes_before_undecided(saved: Path, changed: Changed):
    result = changed("first answer")
    undecided = replace(result.comparisons[0], verdict="undecided")
    mixed = replace(result, comparisons=(undecided, result.comparisons[1]))
    assert mixed.exit_code == 1
    assert replace(mixed, comparisons=(undecided,)).exit_code == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "other"}, "name was 'small' and is 'other'"),
        ({"budgets": SUITE.budgets[:1]}, "budgets was"),
        ({"tasks": ("cifar10",)}, "tasks was"),
        ({"optimizers": SUITE.optimizers[:1]}, "optimizers was"),
        ({"workers": 2}, "workers was 1 and is 2"),
        ({"bill_teacher": False}, "bill_teacher was True and is False"),
        ({"seeds": 41}, "lacks repetition 40 of steady on cifar10"),
        ({"gate": None}, r"no \[gate\] table"),
    ],
)
def test_another_suite_is_refused(saved: Path, change: dict[str, object], message: str):
    with pytest.raises(GateError, match=message):
        run_gate(replace(SUITE, **change), saved)


def test_fewer_seeds_and_another_cap_are_the_same_suite(saved: Path):
    check_reference(read_runs(saved), replace(SUITE, seeds=10, wall_clock_cap="1 minute"), saved)


def altered(saved: Path, path: Path, **columns: object) -> Path:
    """The reference with some metadata replaced."""
    stored = read_runs(saved)
    write_runs(path, stored.table, {**stored.metadata, **columns})
    return path


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"tables": {"nas-bench-201": "0" * 64}}, "other versions of the tables: it has nas-bench-201 0000"),
        ({"tables": None}, "other versions of the tables: it has none"),
        ({"suite": None}, "does not say which suite made it"),
    ],
)
def test_other_tables_are_refused(saved: Path, tmp_path: Path, metadata: dict[str, object], message: str):
    with pytest.raises(GateError, match=message):
        run_gate(SUITE, altered(saved, tmp_path / "altered.parquet", **metadata))


def test_runs_with_other_seeds_do_not_pair(saved: Path, tmp_path: Path):
    stored = read_runs(saved)
    place = stored.table.schema.get_field_index("seed")
    seeds = [seed + 1 for seed in stored.table["seed"].to_pylist()]
    table = stored.table.set_column(place, stored.table.schema.field(place), [seeds])
    write_runs(tmp_path / "other.parquet", table, stored.metadata)
    with pytest.raises(GateError, match="made with other seeds"):
        run_gate(SUITE, tmp_path / "other.parquet")


def test_failed_runs_are_no_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(BEHAVIOUR, "fails")
    with pytest.raises(GateError, match="no reference was written: 80 of 160 runs failed, such as changing"):
        save_reference(SUITE, tmp_path / "failed.parquet")
    assert not list(tmp_path.iterdir())
    run_in_process(SUITE, tmp_path)
    monkeypatch.setenv(BEHAVIOUR, "")
    with pytest.raises(GateError, match="cannot be compared with: 80 of 160 runs failed"):
        run_gate(SUITE, tmp_path / RUNS_FILE)


def test_a_gate_that_measured_nothing_does_not_pass(tmp_path: Path):
    nothing = parse_suite(TEXT.replace('"5 evaluations", "20 evaluations"', '"1 seconds", "2 seconds"'))
    save_reference(nothing, tmp_path / "nothing.parquet")
    with pytest.raises(
        GateError, match="nothing was measured: steady on cifar10 has no answer within 1 seconds"
    ):
        run_gate(nothing, tmp_path / "nothing.parquet")


def test_missing_and_damaged_references_are_refused(saved: Path, tmp_path: Path):
    with pytest.raises(GateError, match="there is no reference"):
        run_gate(SUITE, tmp_path / "absent.parquet")
    damaged = tmp_path / "damaged.parquet"
    damaged.write_bytes(saved.read_bytes()[:-100])
    with pytest.raises(StoreError):
        run_gate(SUITE, damaged)


def test_unknown_parts_are_refused_with_the_nearest_name(saved: Path):
    with pytest.raises(UnknownNameError, match=r"no optimizer 'changin': .* Did you mean 'changing'"):
        run_gate(SUITE, saved, optimizers=["changin"])
    with pytest.raises(UnknownNameError, match=r"no task 'cifar1O'.* Did you mean 'cifar10"):
        run_gate(SUITE, saved, tasks=["cifar1O"])


def test_the_gate_makes_its_own_runs(saved: Path, tmp_path: Path):
    (tmp_path / "store.sqlite").touch()
    with pytest.raises(GateError, match="holds runs already"):
        run_gate(SUITE, saved, folder=tmp_path)


def test_a_name_is_found_beside_the_suite(saved: Path, tmp_path: Path):
    suite = saved.parents[2] / "small.toml"
    assert reference_path("main", suite, "small") == saved
    assert reference_path(str(saved), suite, "small") == saved
    run_in_process(replace(CHANGING, seeds=1), tmp_path)
    assert reference_path(str(tmp_path), suite, "small") == tmp_path / RUNS_FILE
    with pytest.raises(GateError, match="has main. Did you mean 'main'"):
        reference_path("mian", suite, "small")
    with pytest.raises(GateError, match=r"`nasbench-kd reference save '\$\(reboot\)' --suite .*` makes it"):
        reference_path("$(reboot)", suite, "small")


@pytest.mark.parametrize("workers", [1, 3])
def test_a_reference_scores_as_the_whole_runs_do(tmp_path: Path, workers: int):
    suite = parse_suite(
        'name = "whole"\ntasks = ["cifar10", "imagenet16-120"]\n'
        'budgets = ["2 gpu-hours", "9 gpu-hours", "60 gpu-hours"]\n'
        f"seeds = 6\nworkers = {workers}\n"
        '[[optimizers]]\nname = "evolution"\n'
        'optimizer = "nasbench_kd_baselines.regularized_evolution:RegularizedEvolution"\n'
    )
    run_in_process(suite, tmp_path)
    whole = read_runs(tmp_path / RUNS_FILE)
    kept = readable_at(whole.table, suite.budgets)
    write_runs(tmp_path / "kept.parquet", kept, whole.metadata)
    scores = [
        Regrets(tmp_path / name, lambda task: open_scorer(task, "embedded"))
        for name in (RUNS_FILE, "kept.parquet")
    ]
    np.testing.assert_array_equal(scores[0].regret, scores[1].regret)
    assert len(np.unique(scores[0].regret)) > 20
    assert scores[0].readings.task.shape == (12,)
    steps = [sum(map(len, table["cell"].to_pylist())) for table in (whole.table, kept)]
    assert steps[1] <= 12 * 6 < steps[0]


def test_an_answer_that_was_never_shown_keeps_its_score(tmp_path: Path):
    """A step may answer a cell that the run has not trained: there is no step to keep for it."""
    run_in_process(replace(CHANGING, seeds=1), tmp_path)
    stored = read_runs(tmp_path / RUNS_FILE)
    rows = stored.table.to_pylist()
    rows[0]["answer"] = [0] * len(rows[0]["cell"])
    assert 0 not in rows[0]["cell"]
    table = stored.table.from_pylist(rows, schema=stored.table.schema)
    kept = readable_at(table, SUITE.budgets).to_pylist()[0]
    assert [len(kept["cell"]), kept["spent"]] == [2, [5, 20]]
    write_runs(tmp_path / "kept.parquet", readable_at(table, SUITE.budgets), stored.metadata)
    scorer = open_scorer("cifar10", "embedded")
    read = Regrets(tmp_path / "kept.parquet", lambda task: open_scorer(task, "embedded"))
    assert read.of("changing", "cifar10", 1, 1)[0] == pytest.approx(
        scorer.best - scorer.scores([0], [NOT_SHOWN])[0]
    )


def test_later_overrides_go_before_earlier_ones():
    rules = GateRules(
        1.0,
        overrides=(
            RopeOverride(2.0, task="cifar10"),
            RopeOverride(3.0, optimizer="a"),
            RopeOverride(4.0, "a", "cifar100"),
        ),
    )
    assert [
        rules.rope_of(*key) for key in (("a", "cifar10"), ("a", "cifar100"), ("b", "cifar10"), ("b", "x"))
    ] == [
        3.0,
        4.0,
        2.0,
        1.0,
    ]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("[gate]", "the key 'rope' is missing"),
        ("[gate]\nrope = 0", "a number above 0"),
        ("[gate]\nrope = nan", "a number above 0"),
        ("[gate]\nrope = true", "a number above 0"),
        ("[gate]\nrope = 1\nerror = 0.6", "a number above 0 and up to 0.5"),
        ("[gate]\nrope = 1\nfirst_stage = 4", "at least 5 pairs"),
        (
            "[gate]\nrope = 1\nfirst_stage = 41",
            "the first stage is 41 pairs of runs, and the suite has 40 seeds",
        ),
        ("[gate]\nrope = 1\nropes = 2", "unknown key 'ropes'; .* Did you mean 'rope'"),
        ('[gate]\nrope = 1\n[[gate.overrides]]\nrope = 1\ntask = "cifar1"', "the suite has no task 'cifar1'"),
        ('[gate]\nrope = 1\n[[gate.overrides]]\nrope = 1\noptimizer = "stead"', "Did you mean 'steady'"),
        ('[gate]\nrope = 1\n[[gate.overrides]]\ntask = "cifar10"', "the key 'rope' is missing"),
        ("[gate]\nrope = 1\noverrides = 3", r"expected \[\[gate.overrides\]\] tables"),
        ("gate = 3", r"a table such as \[gate\]"),
    ],
)
def test_rules_that_say_nothing_sensible_are_refused(table: str, message: str):
    head, _, tail = TEXT.partition("[gate]\nrope = 0.5\nfirst_stage = 10\nlargest_loss = 0.9\n")
    with pytest.raises(SuiteError, match=message):
        parse_suite(f"{head}{table}\n{tail}")


def test_junit_says_failure_for_worse_and_error_for_undecided(changed: Changed):
    result = changed("first answer")
    verdicts = ("better", "equivalent", "worse", "undecided")
    mixed = replace(
        result,
        comparisons=tuple(
            replace(each, verdict=verdict) for each, verdict in zip(result.comparisons, verdicts, strict=True)
        ),
    )
    root = ElementTree.fromstring(gate_summary.junit(mixed))
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("4", "1", "1")
    kinds = [next(iter(case)).tag for case in root]
    assert kinds == ["system-out", "system-out", "failure", "error"]
    assert root[2].get("classname") == "small.cifar100.changing"
    assert root[2].get("name") == "5 evaluations"
    assert f"difference {result.comparisons[2].difference:+.3f}" in root[2][0].get("message", "")


def test_summaries_escape_what_an_optimizer_says(changed: Changed):
    result = changed("fails")
    text = gate_summary.markdown(result)
    assert "<forgot>" not in text.replace("\\<", "")
    assert "\\<forgot\\> \\| what to do" in text
    assert text.startswith("## Search quality failed: search quality became worse (4 worse)\n")
    assert "**worse** | changing | cifar10 | 5 evaluations" in text
    assert "<forgot> | what to do & ?" in (
        ElementTree.fromstring(gate_summary.junit(result))[0][0].text or ""
    )


def command(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.output


def test_the_command_has_an_exit_code_for_each_outcome(saved: Path, tmp_path: Path, monkeypatch):
    suite = saved.parents[2] / "small.toml"
    gate = ("gate", "--suite", suite, "--reference", "main", "--optimizer", "changing", "--task", "cifar10")
    files = ("--junit", tmp_path / "gate.xml", "--markdown", tmp_path / "gate.md")
    code, output = command(*gate, *files)
    assert (code, "The gate passed: nothing became worse (2 equivalent)." in output) == (0, True)
    assert ElementTree.parse(tmp_path / "gate.xml").getroot().get("failures") == "0"

    monkeypatch.setenv(BEHAVIOUR, "first answer")
    code, output = command(*gate, "--json")
    found = json.loads(output[output.index("{") :])
    assert (code, found["exit_code"], found["counts"]["worse"]) == (1, 1, 2)

    code, output = command(*gate[:4], "absent", *files)
    assert (code, "no reference 'absent'" in output) == (2, True)
    assert ElementTree.parse(tmp_path / "gate.xml").getroot().get("errors") == "1"
    assert "The gate does not pass: no reference" in (tmp_path / "gate.md").read_text()

    monkeypatch.setenv(BEHAVIOUR, "other draws")
    narrow = tmp_path / "narrow.toml"
    narrow.write_text(TEXT.replace("rope = 0.5", "rope = 0.001"))
    code, output = command("gate", "--suite", narrow, "--reference", saved, *gate[5:])
    assert (code, "the seeds did not suffice to decide" in output) == (3, True)


def test_a_verdict_that_cannot_be_written_is_none(saved: Path, tmp_path: Path, monkeypatch):
    gate = ("gate", "--suite", saved.parents[2] / "small.toml", "--reference", "main", "--task", "cifar10")
    (tmp_path / "file").touch()
    for option in ("--junit", "--markdown"):
        code, output = command(*gate, option, tmp_path / "file" / "gate.out")
        assert (code, "error: no verdict was written" in output, "Traceback" in output) == (2, True, False)

    def nobody_reads(*arguments: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(gating, "_print", nobody_reads)
    code, output = command(*gate)
    assert (code, "error: no verdict was written" in output) == (2, True)


def test_an_unexpected_error_is_no_verdict(saved: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(*arguments: object, **options: object) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(gates, "run_suite", broken)
    code, _ = command("gate", "--suite", saved.parents[2] / "small.toml", "--reference", "main")
    assert code == 2


def test_old_names_still_work_with_a_hint(saved: Path, tmp_path: Path):
    suite = saved.parents[2] / "small.toml"
    code, output = command("baseline", "show", "main", "--suite", suite)
    assert (code, "160 runs" in output, "is now `nasbench-kd reference`" in output) == (0, True, True)
    chosen = ("--optimizer", "changing", "--task", "cifar10")
    code, output = command("gate", "--suite", suite, "--baseline", "main", *chosen)
    assert (code, "`--baseline` is now `--reference`" in output) == (0, True)
    code, output = command("gate", "--suite", suite)
    assert (code, "--reference" in output) == (2, True)


def test_references_of_the_old_folder_are_read_with_a_warning(saved: Path, tmp_path: Path):
    old = tmp_path / "baselines" / "small" / "main.parquet"
    old.parent.mkdir(parents=True)
    old.write_bytes(saved.read_bytes())
    with pytest.warns(UserWarning, match="move the file"):
        assert reference_path("main", tmp_path / "small.toml", "small") == old
    with pytest.raises(GateError, match="no reference 'absent'"):
        reference_path("absent", tmp_path / "small.toml", "small")


def test_references_are_saved_the_same_and_shown(saved: Path, tmp_path: Path):
    suite = tmp_path / "small.toml"
    suite.write_text(TEXT)
    assert command("reference", "save", "main", "--suite", suite)[0] == 0
    again = tmp_path / "reference" / "small" / "main.parquet"
    assert again.read_bytes() == saved.read_bytes()
    code, output = command("reference", "show", "main", "--suite", suite)
    assert (code, "160 runs" in output, "The gate can compare with it." in output) == (0, True, True)

    suite.write_text(TEXT.replace("seeds = 40", "seeds = 41"))
    code, output = command("reference", "show", "main", "--suite", suite, "--json")
    found = json.loads(output)
    assert (code, found["usable"], found["runs"], len(found["regrets"])) == (0, False, 160, 8)
    assert "lacks repetition 40" in found["problem"]
    expected = {
        (each.optimizer, each.task, each.budget): each.regret for each in mean_regrets(saved, "embedded")
    }
    assert {
        (each["optimizer"], each["task"], each["budget"]): each["regret"] for each in found["regrets"]
    } == expected


def test_the_suite_of_this_project_has_its_reference():
    """What continuous integration compares with is there, and fits suite, tables and seeds."""
    suite_file = Path(__file__).parents[2] / "suites" / "ci.toml"
    suite = load_suite(suite_file)
    path = reference_path("main", suite_file, suite.name)
    check_reference(read_runs(path), suite, path)
    assert path.stat().st_size < 1_000_000
