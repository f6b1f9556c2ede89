"""Optimizers against each other: cliques and chances by hand, ranks with and without the surrogate."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import cache

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from nasbench_kd.benchmark.scoring import open_scorer
from nasbench_kd.execution.runs import RunsFile, read_runs, write_runs
from nasbench_kd.report import scored_runs
from nasbench_kd.report.board import board
from nasbench_kd.report.compare import differences_of, sentence
from nasbench_kd.report.curves import anytime_curves
from nasbench_kd.report.diagram import cliques, diagram
from nasbench_kd.report.html_tables import comparison_parts, source_parts
from nasbench_kd.report.leaderboard import regrets
from nasbench_kd.report.pairwise import compare_all, limit_text
from nasbench_kd.report.readings import read
from nasbench_kd.report.scored_runs import score_folder
from nasbench_kd.report.tables import setting
from nasbench_kd.report.winners import places
from nasbench_kd.stats.signed_rank import signed_rank_p
from nasbench_kd.stats.statistics import holm
from nasbench_kd.tables.column import Column, make_rows
from nasbench_kd.tables.table import write_table
from nasbench_kd.tasks.fidelity import Fidelity

scorers = cache(open_scorer)


def test_cliques_by_hand():
    def differ(count, *pairs):
        found = np.zeros((count, count), dtype=bool)
        for i, j in pairs:
            found[i, j] = found[j, i] = True
        return found

    assert cliques(differ(4, (0, 2), (0, 3), (1, 3))) == [(0, 1), (1, 2), (2, 3)]
    assert cliques(differ(4, (0, 3))) == [(0, 2), (1, 3)]
    assert cliques(differ(3, (0, 1), (1, 2))) == []  # 0 and 2 are no neighbours: no bar crosses 1
    assert cliques(differ(3)) == [(0, 2)]
    assert cliques(differ(4, (0, 1), (1, 2))) == [(2, 3)]


def test_diagram_names_everything_and_escapes():
    differ = np.zeros((3, 3), dtype=bool)
    differ[0, 2] = differ[2, 0] = True
    svg = diagram(["a<b", "plain", "third"], [2.0, 1.25, 2.75], differ)
    label = "Mean ranks: plain 1.25; a&lt;b 2.00; third 2.75. Not told apart: plain to a&lt;b."
    assert f'aria-label="{label}"' in svg
    assert "a<b" not in svg
    assert "Not told apart: none." in diagram(["a", "b"], [1.0, 2.0], ~np.eye(2, dtype=bool))


def test_what_pairs_cannot_show_is_said():
    # 5 pairs: 2/2^5 = 0.0625; 10 pairs against 11 others: 11 * 2/2^10 = 0.0215.
    assert "5 pairs of runs can show no difference here" in limit_text(5, 1)
    assert "would still be 0.062" in limit_text(5, 1)
    assert "At least 6 pairs" in limit_text(5, 1)
    assert limit_text(6, 1) == limit_text(10, 11) == ""
    assert "At least 9 pairs" in limit_text(8, 11)


def test_all_optimizers_against_each_other(runs_folder):
    scored = score_folder(runs_folder)
    readings = scored.readings
    found = compare_all(readings, scored.scorers, readings.at_budget, 2)
    assert found.names == ("random", "hillclimb", "shy", "fragile")
    assert found.blocks == 16
    regret = regrets(readings, scored.scorers, readings.at_budget)[:, 2]
    chances, ranks = [], []
    for task in readings.tasks:
        values = np.array([regret[readings.select(task, name)] for name in found.names])
        pairs = values[1][:, None] - values[0][None, :]
        chances.append(np.mean((pairs < 0) + 0.5 * (pairs == 0)))
        ranks.append(stats.rankdata(values, axis=0))
    assert found.improvement[1, 0] == pytest.approx(np.mean(chances))
    assert found.improvement[0, 1] == pytest.approx(1 - np.mean(chances))
    assert found.mean_ranks == pytest.approx(np.concatenate(ranks, axis=1).mean(axis=1))
    # The repetitions of one task are blocks, and tests are corrected for the 2 x 3 diagrams of the page.
    for one, task, ranked in zip(found.by_task, readings.tasks, ranks, strict=True):
        assert (one.task, one.blocks) == (task, 8)
        assert one.mean_ranks == pytest.approx(ranked.mean(axis=1))
        columns = [regret[readings.select(task, name)] for name in found.names]
        assert one.p_value == pytest.approx(min(1, 6 * stats.friedmanchisquare(*columns).pvalue))
        pairs = list(itertools.combinations(range(4), 2))
        raw = [signed_rank_p(columns[i] - columns[j]) for i, j in pairs]
        for (i, j), p_value in zip(pairs, holm(raw), strict=True):
            assert one.adjusted[i, j] == one.adjusted[j, i] == min(1, 6 * p_value)
    # Six pairs of optimizers: 6 * 2 / 2^8 = 0.047. And over 6 diagrams, 36 * 2 / 2^11 = 0.035.
    text = comparison_parts([found] * 3)
    assert "at least 8 of them to show any difference, and there are 2" in text
    assert "8 pairs of runs can show no difference here" in text
    assert "At least 11 pairs" in text
    assert np.all(found.adjusted >= found.adjusted.T - 1e-12)


@pytest.fixture(scope="module")
def surrogate_folder(runs_folder, tmp_path_factory):
    """The same runs, but hillclimb's evaluations after its third come from the surrogate."""
    folder = tmp_path_factory.mktemp("surrogate")
    stored = read_runs(runs_folder / "runs.parquet")
    sources = [
        names
        if optimizer != "hillclimb"
        else [name if i < 3 else "surrogate" for i, name in enumerate(names)]
        for optimizer, names in zip(
            *(stored.table[c].to_pylist() for c in ("optimizer", "source")), strict=True
        )
    ]
    column = stored.table.schema.get_field_index("source")
    changed = stored.table.set_column(
        column, stored.table.schema.field(column), pa.array(sources, pa.list_(pa.string()))
    )
    write_runs(folder / "runs.parquet", changed, stored.metadata)
    return folder


def test_runs_are_cut_before_the_first_surrogate_entry(runs_folder, surrogate_folder):
    plain = read(RunsFile(runs_folder / "runs.parquet"), scorers)
    mixed = read(RunsFile(surrogate_folder / "runs.parquet"), scorers)
    np.testing.assert_array_equal(mixed.at_budget, plain.at_budget)
    for task in plain.tasks:
        others = mixed.select(task, "random")
        np.testing.assert_array_equal(mixed.before_surrogate[others], mixed.at_budget[others])
        for row in mixed.select(task, "hillclimb"):
            steps = read_runs(runs_folder / "runs.parquet").table.slice(int(row), 1).to_pylist()[0]
            answer = steps["answer"][2]
            shown = steps["training_seed"][steps["cell"].index(answer)]
            assert mixed.before_surrogate[row, -1] == scorers(task).scores([answer], [shown])[0]
            charged = sum(value > 0 for value in steps["charged"][:3])
            assert mixed.steps[row, -1, 0] == charged
            assert mixed.steps[row, -1, 3] == sum(value > 0 for value in steps["charged"][3:])


def test_page_says_whether_the_order_rests_on_the_surrogate(runs_folder, surrogate_folder):
    scored = score_folder(surrogate_folder)
    largest = [row for row in scored.rows if row.budget == "20 gpu-hours"]
    full = compare_all(scored.readings, scored.scorers, scored.readings.at_budget, 2)
    cut = compare_all(scored.readings, scored.scorers, scored.readings.before_surrogate, 2)
    assert cut.mean_ranks[1] > full.mean_ranks[1]
    assert "without the surrogate" in source_parts(largest, full, cut)
    reversed_order = replace(cut, mean_ranks=-full.mean_ranks)
    assert "<strong>changes</strong>" in source_parts(largest, full, reversed_order)
    assert "stays the same" in source_parts(largest, full, full)
    plain = [row for row in score_folder(runs_folder).rows if row.budget == "20 gpu-hours"]
    assert "No evaluation came from the surrogate" in source_parts(plain, full, full)


def test_runs_on_one_shared_draw_have_no_interval_and_show_nothing(surrogate_folder, monkeypatch):
    """Eight runs that all rest on one draw of a surrogate are one piece of evidence; tasks without it keep theirs."""
    before = score_folder(surrogate_folder)
    assert before.readings.shared_draws == frozenset()
    monkeypatch.setattr(scored_runs, "_shared_draws", lambda *_: frozenset({"cifar10"}))
    scored = score_folder(surrogate_folder)
    found = {(row.task, row.optimizer): row for row in scored.rows if row.budget == "20 gpu-hours"}
    old = {(row.task, row.optimizer): row for row in before.rows if row.budget == "20 gpu-hours"}
    resting = found["cifar10", "hillclimb"]
    assert resting.iqm_regret.estimate == old["cifar10", "hillclimb"].iqm_regret.estimate
    assert not any(each.known for each in (resting.iqm_regret, resting.median_regret, resting.mean_rank))
    for place in (("cifar10", "random"), ("cifar100", "hillclimb")):
        assert found[place].iqm_regret == old[place].iqm_regret
    differences = {
        d.task: d for d in differences_of("hillclimb", "random", scored, scored) if d.budget[:2] == "20"
    }
    assert differences["cifar10"].p_value == 1
    assert not differences["cifar10"].regret.known
    assert "all on one draw of a surrogate" in sentence(differences["cifar10"], ("a", "b"))
    assert differences["cifar100"].p_value < 1
    assert differences["cifar100"].regret.known
    # One block on cifar10: nothing can be said over both tasks.
    assert compare_all(scored.readings, scored.scorers, scored.readings.at_budget, 2) is None
    (place,) = (one for one in places(scored) if (one.task, one.budget) == ("cifar10", "20 gpu-hours"))
    assert {*place.best, *place.level} == {"random", "hillclimb", "shy", "fragile"}
    assert all(
        np.isnan(c.low).all()
        for c in anytime_curves(scored.readings, scored.scorers, "cifar10")
        if c.name == "hillclimb"
    )
    assert not next(
        row for row in board(scored, surrogate_folder) if row.method == "hillclimb"
    ).mean_rank.known
    text = " ".join(setting(scored.readings, scored.scorers))
    assert "On cifar10 all runs see one and the same draw" in text
    assert "its own draw of what a surrogate answers" in " ".join(setting(before.readings, before.scorers))


def test_a_surrogate_without_further_draws_is_noticed(runs_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("NASBENCH_KD_DATA", str(tmp_path))
    rows = make_rows(np.arange(20), np.full(20, 777), np.full(20, 50), np.full(20, 10**6))
    column = Column("cifar100", Fidelity.parse("none@24"), "valid", 5000, rows, {"source": "surrogate"})
    write_table(tmp_path / "own", "own", [column], {})
    assert score_folder(runs_folder, "installed").readings.shared_draws == {"cifar100"}
    assert score_folder(runs_folder).readings.shared_draws == frozenset()
