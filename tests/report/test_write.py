"""The written report: its numbers recomputed by hand, its bytes, and what it refuses."""

from __future__ import annotations

import csv
import re
import shutil
import struct
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import stats

from nasbench_kd.benchmark.scoring import open_scorer
from nasbench_kd.cli.reporting import make_report
from nasbench_kd.errors import StoreError
from nasbench_kd.execution.runs import KEPT, RunRecord, RunsFile, read_runs, to_table, write_runs
from nasbench_kd.gate.reference import readable_at
from nasbench_kd.opening import load
from nasbench_kd.report import compare, write_html, write_report
from nasbench_kd.report.figures import title_of
from nasbench_kd.report.prefixes import Prefixes
from nasbench_kd.report.readings import read
from nasbench_kd.simulation.budget import Budget
from nasbench_kd.simulation.run import Run, Step
from nasbench_kd.spaces.nasbench201 import SPACE

from .conftest import BUDGETS, REPETITIONS, make_folder, write_hand_made

FILES = ("leaderboard.md", "leaderboard.csv", "anytime.svg", "ranks.svg", "anytime.png", "ranks.png")


@pytest.fixture(scope="module")
def written(runs_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    for name in ("runs.parquet", "overhead.csv"):
        shutil.copy(runs_folder / name, folder / name)
    return folder, write_report(folder)


def test_the_file_of_runs_is_opened_once(runs_folder, tmp_path, monkeypatch):
    opened = []
    parquet_file = pq.ParquetFile
    monkeypatch.setattr(
        pq, "ParquetFile", lambda path, **how: opened.append(path) or parquet_file(path, **how)
    )
    write_html(runs_folder, output=tmp_path / "report.html")
    assert opened == [runs_folder / "runs.parquet"]
    shutil.copytree(runs_folder, tmp_path / "all")
    make_report(tmp_path / "all", html=True, latex=True)
    assert opened[1:] == [tmp_path / "all" / "runs.parquet"]


def test_searches_with_a_plan_are_ranked_at_their_own_budget_alone(tmp_path):
    """Three hours of a plan for twelve are not what the method does with three."""
    rng = np.random.default_rng(3)
    made = {
        name: [[("none@200", 3600, 0, int(cell)) for cell in rng.integers(0, 15_625, 12)] for _ in range(6)]
        for name in ("halving", "random", "local")
    }
    budgets = ("3 gpu-hours", "12 gpu-hours")
    write_hand_made(
        tmp_path, made, [("a plan", "halving", "random")], unbilled={}, planned=("halving",), budgets=budgets
    )
    report = write_report(tmp_path)
    small, large = ({row.optimizer: row for row in report.rows if row.budget == budget} for budget in budgets)
    assert small["halving"].cut_short
    assert small["halving"].mean_rank is None
    assert not large["halving"].cut_short
    assert sum(row.mean_rank.estimate for row in small.values() if row.mean_rank) == pytest.approx(3)
    assert sum(row.mean_rank.estimate for row in large.values()) == pytest.approx(6)
    assert "| halving ‡" in report.markdown
    assert "works through a plan" in report.markdown
    assert "halving" not in (tmp_path / "anytime.svg").read_text()
    assert "Primary comparison" not in report.markdown
    compared = compare("halving", "random", runs=tmp_path)
    assert [entry.budget for entry in compared.differences] == ["12 gpu-hours"]


def test_the_primary_comparison_stands_first_and_uncorrected(runs_folder, tmp_path):
    stored = read_runs(runs_folder / "runs.parquet")
    named = {"optimizer": "hillclimb", "against": "random", "task": "cifar100", "budget": "5 gpu-hours"}
    suite = {**stored.metadata["suite"], "primary": named}
    write_runs(tmp_path / "runs.parquet", stored.table, {**stored.metadata, "suite": suite})
    text = write_report(tmp_path).markdown
    found = read(RunsFile(tmp_path / "runs.parquet"), open_scorer)
    ours, others = (found.at_budget[found.select("cifar100", name), 1] for name in ("hillclimb", "random"))
    expected = stats.wilcoxon(ours - others, method="exact").pvalue
    assert f"p = {expected:.2g} by Wilcoxon" in text
    assert "hillclimb against random on cifar100 at 5 gpu-hours" in text
    assert text.index("## Primary comparison") < text.index("## Who wins where")


def row_of(report, optimizer, budget="20 gpu-hours", task="cifar10"):
    (row,) = [r for r in report.rows if (r.task, r.budget, r.optimizer) == (task, budget, optimizer)]
    return row


def test_numbers_by_hand(written):
    folder, report = written
    scorer = open_scorer("cifar10")
    found = read(RunsFile(folder / "runs.parquet"), open_scorer)
    scores = {
        name: found.at_budget[found.select("cifar10", name), -1]
        for name in found.optimizers
        if name != "broken"
    }
    for name, values in scores.items():
        row = row_of(report, name)
        regret = scorer.best - values
        assert row.iqm_regret.estimate == pytest.approx(stats.trim_mean(regret, 0.25))
        assert row.median_regret.estimate == pytest.approx(np.median(regret))
        assert row.iqm_regret.low <= row.iqm_regret.estimate <= row.iqm_regret.high
        assert (row.accuracy_mean, row.accuracy_deviation) == pytest.approx(
            (values.mean(), values.std(ddof=1))
        )
        n = row.random_search_evaluations
        assert scorer.random_search().expected(n) == pytest.approx(values.mean(), abs=1e-4)
        hours = n * load("cifar10", data="embedded").mean_seconds() / 3600
        assert row.random_search_ratio == pytest.approx(hours / 20)
        assert row.optimizer_seconds == pytest.approx(np.mean([0.5 + r for r in range(REPETITIONS)]))
        assert row.shares["measured"] == 1.0
    expected = np.mean(
        [stats.rankdata([-scores[name][r] for name in scores]) for r in range(REPETITIONS)], axis=0
    )
    assert [row_of(report, name).mean_rank.estimate for name in scores] == pytest.approx(expected.tolist())


def test_failures_are_shown_with_their_reason(written):
    _, report = written
    broken, fragile = row_of(report, "broken"), row_of(report, "fragile")
    assert (broken.failures, broken.iqm_regret, broken.mean_rank) == (REPETITIONS, None, None)
    assert 0 < fragile.failures < REPETITIONS
    assert row_of(report, "fragile", "1 gpu-hours").failures == 0
    assert (
        f"`broken`: {REPETITIONS} of {REPETITIONS} runs failed: RuntimeError in ask: no luck"
        in report.markdown
    )
    assert (
        f"`fragile`: {fragile.failures} of {REPETITIONS} runs failed: ValueError in tell: singular"
        in report.markdown
    )
    assert "Failed or without runs on some task: broken." in report.markdown
    assert [r.optimizer for r in report.rows if r.budget == BUDGETS[0]][4] == "broken"


def test_no_answer_yet_counts_as_an_uninformed_pick(written):
    folder, report = written
    found = read(RunsFile(folder / "runs.parquet"), open_scorer)
    values = found.at_budget[found.select("cifar100", "random"), 0]
    scorer = open_scorer("cifar100")
    row = row_of(report, "random", "1 gpu-hours", "cifar100")
    assert row.without_answer == np.isnan(values).sum() > 0
    filled = np.where(np.isnan(values), scorer.reference.mean(), values)
    assert row.accuracy_mean == pytest.approx(filled.mean())
    assert f"`random`: {row.without_answer} of {REPETITIONS} runs had no answer" in report.markdown


def test_overall_normalises_by_the_uninformed_pick(written):
    folder, report = written
    found = read(RunsFile(folder / "runs.parquet"), open_scorer)
    parts = []
    for task in found.tasks:
        scorer = open_scorer(task)
        parts.append(
            (scorer.best - found.at_budget[found.select(task, "hillclimb"), -1])
            / (scorer.best - scorer.uninformed)
        )
    (entry,) = [e for e in report.overall if (e.optimizer, e.budget) == ("hillclimb", "20 gpu-hours")]
    assert entry.normalised_regret.estimate == pytest.approx(stats.trim_mean(np.concatenate(parts), 0.25))
    ranks = [row_of(report, "hillclimb", task=task).mean_rank.estimate for task in found.tasks]
    assert entry.mean_rank == pytest.approx(np.mean(ranks))


def test_csv_holds_the_rows(written):
    folder, report = written
    lines = list(csv.DictReader((folder / "leaderboard.csv").open()))
    assert len(lines) == len(report.rows) == 2 * 3 * 5
    for line, row in zip(lines, report.rows, strict=True):
        assert (line["task"], line["budget"], line["optimizer"]) == (row.task, row.budget, row.optimizer)
        assert line["score"] == "test"
        assert line["iqm_regret"] == ("" if row.iqm_regret is None else str(row.iqm_regret.estimate))


def test_report_says_what_it_rests_on(written):
    _, report = written
    for text in (
        "# Leaderboard: small",
        "evaluations were measured**, on the cell itself or on an isomorphic one.",
        "80 runs: 5 optimizers on 2 task(s)",
        "mean test accuracy over the training seeds, which no search can see",
        "Teacher billed: 0 of 80 runs",
        "nas-bench-201 `",
        "Runs made by nasbench-kd 0.1.0.",
        "Best cell 91.523 %",
        "(test accuracy, nas-bench-201-test: of models trained on 25,000 of the 50,000 images",
        "100% measured",
        "![anytime](anytime.png)",
    ):
        assert text in report.markdown


def test_same_runs_give_the_same_bytes(written, tmp_path):
    folder, _ = written
    for name in ("runs.parquet", "overhead.csv"):
        shutil.copy(folder / name, tmp_path / name)
    write_report(tmp_path)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


def test_figures_are_wide_enough_to_read(written):
    folder, report = written
    assert {path.name for path in report.files} == set(FILES)
    for name in ("anytime.png", "ranks.png"):
        width, height = struct.unpack(">II", (folder / name).read_bytes()[16:24])
        assert width >= 1000
        assert height >= 400
    svg = (folder / "anytime.svg").read_text()
    assert "<dc:date>" not in svg


def test_budgets_in_evaluations_and_a_single_repetition(tmp_path):
    folder = make_folder(tmp_path, ("5 evaluations", "30 evaluations"), repetitions=1, tasks=("cifar10",))
    (folder / "overhead.csv").unlink()
    report = write_report(folder)
    row = row_of(report, "random", "30 evaluations")
    assert row.accuracy_deviation is None
    assert row.optimizer_seconds is None
    assert row.evaluations == 30
    assert row.random_search_ratio == pytest.approx(row.random_search_evaluations / 30)
    assert "evaluations (" in report.markdown


def test_runs_of_another_table_version_are_refused(written, tmp_path):
    folder, _ = written
    stored = read_runs(folder / "runs.parquet")
    write_runs(
        tmp_path / "runs.parquet",
        stored.table,
        {**stored.metadata, "tables": {"nas-bench-201": "0" * 64}},
    )
    with pytest.raises(StoreError, match="rest on version 000000000000 of the table nas-bench-201"):
        write_report(tmp_path)
    write_runs(tmp_path / "runs.parquet", stored.table, {"suite": stored.metadata["suite"]})
    with pytest.raises(StoreError, match="do not say which tables"):
        write_report(tmp_path)


def test_unreadable_overhead_is_refused(written, tmp_path):
    shutil.copy(written[0] / "runs.parquet", tmp_path / "runs.parquet")
    (tmp_path / "overhead.csv").write_text("optimizer,task\nrandom,cifar10\n")
    with pytest.raises(StoreError, match="optimizer_seconds"):
        write_report(tmp_path)
    with pytest.raises(StoreError, match="no stored runs"):
        write_report(tmp_path / "nowhere")


def test_both_rules_for_the_answer_stand_side_by_side(written, runs_folder):
    """Shy answers with a cell that it never trained; by the best observed it would be random search."""
    _, report = written
    assert row_of(report, "random").observed_regret == row_of(report, "random").iqm_regret.estimate
    shy = row_of(report, "shy")
    scorer = open_scorer("cifar10")
    regrets = []
    for run in read_runs(runs_folder / "runs.parquet").table.to_pylist():
        if (run["task"], run["optimizer"]) == ("cifar10", "shy"):
            best = max(range(len(run["value"])), key=run["value"].__getitem__)
            shown = run["training_seed"][best]
            regrets.append(scorer.best - scorer.scores([run["cell"][best]], [shown])[0])
    assert shy.observed_regret == pytest.approx(stats.trim_mean(regrets, 0.25))
    assert shy.observed_regret != shy.iqm_regret.estimate


def test_one_repetition_prints_no_interval_and_no_verdict(tmp_path):
    """An estimate of a single run says nothing of how runs vary: `6.607 [6.607, 6.607]` would."""
    folder = make_folder(tmp_path, repetitions=1, tasks=("cifar10",))
    report = write_report(folder)
    row = row_of(report, "random")
    assert (
        f"| {row.iqm_regret.estimate:.3f} | {row.observed_regret:.3f} | {row.median_regret.estimate:.3f} |"
        in re.sub(r" +", " ", report.markdown)
    )
    assert f"{row.iqm_regret.estimate:.3f} [" not in report.markdown
    assert "Who wins where" not in report.markdown
    lines = list(csv.DictReader((folder / "leaderboard.csv").open()))
    assert {line["iqm_regret_low"] for line in lines} == {""}
    page = write_html(folder).read_text(encoding="utf-8")
    assert f"{row.iqm_regret.estimate:.3f} <small>" not in page
    assert ":NaN" not in page


def test_five_repetitions_say_that_they_can_show_nothing(tmp_path):
    report = write_report(make_folder(tmp_path, repetitions=5, tasks=("cifar10",)))
    assert "**5 pairs of runs can show no difference here, however large**" in report.markdown


def test_a_seed_that_was_shown_of_an_isomorphic_cell_is_hidden_from_the_score(tmp_path):
    """Cells without trainings of their own are answered by those of a twin: shown of one is shown of the other."""
    scorer = open_scorer("cifar10", basis="hidden seeds")
    (asked, answered), other = (
        np.flatnonzero(SPACE.classes == most_common(SPACE.classes))[:2].tolist(),
        5,
    )
    seeds = scorer.seeds[~np.isnan(scorer.valid[asked])].tolist()
    valid = scorer.valid.copy()
    valid[answered] = valid[asked]
    trained = np.arange(len(valid))
    twins = replace(scorer, valid=valid, trained=np.where(trained == answered, asked, trained))
    steps = [Step(0, 1, asked, "none@200", seeds[0], 90.0, 1, 0, 1, "measured", answered)]
    steps.append(Step(1, 2, other, "none@200", seeds[1], 90.0, 1, 0, 2, "measured", answered))
    run = Run(
        "cifar10", SPACE, Budget.parse("5 evaluations"), 0, 1, tuple(steps), "budget", "", 1.0, 0.0, 0.0
    )
    prefixes = Prefixes(to_table([RunRecord("one", 0, run)]).to_batches()[0])
    stops, task = np.array([[1, 2]]), np.array([0])
    hidden = np.mean([valid[asked, scorer.seeds == seed] for seed in seeds[1:]])
    assert prefixes.scores(stops, task, [twins])[0] == pytest.approx([hidden, hidden])
    # A twin with trainings of its own has seeds of its own.
    own = np.nanmean(scorer.valid[answered])
    assert prefixes.scores(stops, task, [scorer])[0] == pytest.approx([own, own])
    assert scorer.trained is None


def most_common(classes):
    found, count = np.unique(classes, return_counts=True)
    return found[count.argmax()]


def test_a_report_of_kept_steps_says_so_and_has_the_same_regrets(written, tmp_path):
    folder, report = written
    runs = read_runs(folder / "runs.parquet")
    budgets = [Budget.parse(text) for text in runs.metadata["suite"]["budgets"]]
    thin = readable_at(runs.table, budgets)
    write_runs(tmp_path / "runs.parquet", thin, {**runs.metadata, KEPT: "the steps that decide"})
    again = write_report(tmp_path)
    assert "evaluations that decide the scores (no others are kept) were measured" in again.markdown
    assert "| stored evaluations by source |" in re.sub(" +", " ", again.markdown)
    assert "stored evaluations by source" not in report.markdown
    counts = ("evaluations", "share_measured", "share_surrogate")
    assert all(record[name] is None for record in again.records for name in counts)
    assert all(record["evaluations"] > 0 for record in report.records if record["optimizer"] == "random")
    regret = {(row.task, row.budget, row.optimizer): row.iqm_regret for row in report.rows}
    assert {(row.task, row.budget, row.optimizer): row.iqm_regret for row in again.rows} == regret


def test_titles_of_many_panels_are_broken_and_those_of_few_are_not():
    assert title_of("autoformer-cifar100", 7) == "autoformer-\ncifar100"
    assert title_of("imagenet16-120: distillation", 3) == "imagenet16-120: distillation"
