"""The LaTeX table: its numbers, what is bold, what can be chosen, and that LaTeX reads it."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from importlib import resources
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from nasbench_kd.cli import app
from nasbench_kd.errors import UnknownNameError
from nasbench_kd.plotting import PALETTE, look
from nasbench_kd.report.latex import Selection, escape, latex
from nasbench_kd.report.looks import looks_of, rows_of
from nasbench_kd.report.scored_runs import score_folder
from nasbench_kd.simulation.registry import registered

from .conftest import write_hand_made

PAGE = "\\documentclass{article}\\usepackage{booktabs,longtable}\\begin{document}\n%s\\end{document}\n"


@pytest.fixture(scope="module")
def scored(runs_folder):
    return score_folder(runs_folder)


def body(text):
    lines = text.split("\\midrule\n")[1].split("\\bottomrule")[0].splitlines()
    return {cells[0]: cells[1:] for line in lines if (cells := line.removesuffix(r" \\").split(" & "))}


def test_the_numbers_are_those_of_the_leaderboard(scored):
    rows = body(latex(scored, Selection(budgets=("20 gpu-hours",))))
    assert list(rows) == list(scored.readings.optimizers)
    for column, task in enumerate(scored.readings.tasks):
        part = [row for row in scored.rows if (row.task, row.budget) == (task, "20 gpu-hours")]
        known = {row.optimizer: row.iqm_regret for row in part if row.iqm_regret}
        best = min(known.values(), key=lambda interval: interval.estimate)
        for name, interval in known.items():
            cell = rows[name][column]
            assert f"[{interval.low:.2f}, {interval.high:.2f}]" in cell
            level = round(interval.estimate, 2) <= round(best.high, 2)
            assert cell.startswith(r"\textbf{") == level, (name, task)
        assert rows["broken"][column] == "--"
    assert sum(cells[0].startswith(r"\textbf{") for cells in rows.values()) >= 1


def test_a_paper_chooses_what_it_shows(scored):
    chosen = Selection(
        ("hillclimb", "random"), ("cifar100",), ("5 gpu-hours", "20 gpu-hours"), {"random": "RS & 100%"}
    )
    text = latex(scored, chosen)
    assert list(body(text)) == ["hillclimb", r"RS \& 100\%"]
    assert r"\multicolumn{2}{c}{cifar100}" in text
    assert "cifar10}" not in text
    for wrong in (Selection(("hilclimb",)), Selection(tasks=("mnist",)), Selection(names={"x": "y"})):
        with pytest.raises(UnknownNameError, match="the runs have no"):
            latex(scored, wrong)


def test_latex_compiles_it(scored, tmp_path):
    if not shutil.which("pdflatex"):
        pytest.skip("LaTeX is not installed")
    strange = Selection(names={"random": r"5% a_b {c} \d~^$x$ #1<&>"})
    (tmp_path / "page.tex").write_text(PAGE % (latex(scored, strange) + latex(crowded(scored, 45))))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "page.pdf").stat().st_size > 1000
    assert "too large for page" not in done.stdout
    assert "Overfull" not in done.stdout


def crowded(scored, count):
    """The runs of so many optimizers, each with the results of one."""
    names = tuple(f"neighbourhood-{number:02}" for number in range(count))
    rows = [row for row in scored.rows if row.optimizer == "random"]
    return SimpleNamespace(
        readings=replace(scored.readings, optimizers=names),
        rows=tuple(replace(row, optimizer=name) for name in names for row in rows),
        scorers=scored.scorers,
    )


def test_what_has_no_room_on_a_page_is_broken(scored):
    budgets = Selection(budgets=("20 gpu-hours",))
    assert latex(crowded(scored, 40), budgets).count(r"\begin{table}") == 1
    text = latex(crowded(scored, 41), budgets)
    assert (text.count(r"\begin{longtable}"), text.count(r"\begin{table}")) == (1, 0)
    assert text.startswith("% \\usepackage{booktabs,longtable}\n")
    # Two tasks at three budgets: three columns a table, each task over its own.
    wide = latex(scored)
    assert re.findall(r"\\label\{(.*?)\}", wide) == ["tab:small", "tab:small-2"]
    assert re.findall(r"\\multicolumn\{(\d)\}\{c\}\{(\w+)\}", wide) == [("3", "cifar10"), ("3", "cifar100")]
    two = latex(scored, Selection(budgets=("5 gpu-hours", "20 gpu-hours")))
    assert re.findall(r"cmidrule\(lr\)\{(\d-\d)\}", two) == ["2-3", "4-4", "2-2"]
    assert [len(cells) for cells in body(two).values()] == [3] * 5


def test_escaping_leaves_no_command():
    assert re.sub(r"\\(textbackslash|textless|textgreater)\{\}|\\[{}&]", "", escape(r"a\b{}&<>")) == "ab"


def test_the_command_writes_table_and_figures(runs_folder, tmp_path):
    for name in ("runs.parquet", "overhead.csv"):
        shutil.copy(runs_folder / name, tmp_path / name)
    told = ["report", str(tmp_path), "--latex", "--task", "cifar10", "--name", "hillclimb=HC"]
    result = CliRunner().invoke(app, told)
    assert result.exit_code == 0, result.output
    assert "HC &" in (tmp_path / "leaderboard.tex").read_text()
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.pdf")}
    assert set(before) == {"anytime.pdf", "ranks.pdf"}
    assert all(data.startswith(b"%PDF") and b"CreationDate" not in data for data in before.values())
    assert CliRunner().invoke(app, told).exit_code == 0
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.pdf")} == before
    for wrong in (["--name", "hillclimb"], ["--optimizer", "nobody"]):
        assert CliRunner().invoke(app, ["report", str(tmp_path), "--latex", *wrong]).exit_code == 2
    assert CliRunner().invoke(app, ["report", str(tmp_path), "--task", "cifar10"]).exit_code == 2


def test_no_two_methods_of_a_report_look_alike():
    """Families outnumber the colours: those that share one have dashes and markers of their own."""
    names = [name for known in registered() for name in (known, f"{known}-plain")]
    entries = [SimpleNamespace(name=name, optimizer=name.removesuffix("-plain")) for name in names]
    suite = SimpleNamespace(optimizers=[*entries, SimpleNamespace(name="mine", optimizer="mine:Mine")])
    looks = looks_of(SimpleNamespace(provenance=SimpleNamespace(suite=suite), optimizers=(*names, "mine")))
    assert len(registered()) > len(PALETTE)
    assert len({(each.colour, each.variant) for each in looks.values()}) == len(looks)
    drawn = [look(each.colour, each.variant) for each in looks.values()]
    assert len({tuple(map(str, each.values())) for each in drawn}) == len(drawn)


def test_a_method_has_one_colour_in_every_report(tmp_path):
    runs = [[("none@200", 600, 0, 5)], [("none@200", 600, 0, 6)]]
    found = []
    for number, names in enumerate((["mine", "random", "local-search"], ["local-search", "mine"])):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_hand_made(folder, dict.fromkeys(names, runs), (), unbilled={"mine": "random"} if number else {})
        found.append(looks_of(score_folder(folder).readings))
    first, second = found
    assert first["local-search"] == second["local-search"]
    assert first["local-search"].colour != first["random"].colour
    assert second["mine"] == first["random"]  # the same class under another name


def test_page_and_figures_have_the_same_colours():
    text = resources.files("nasbench_kd.report").joinpath("page", "style.css").read_text()
    light = text.split("@media")[0]
    assert re.findall(r"--c\d+: (#[0-9a-f]{6});", light) == list(PALETTE)
    assert len(re.findall(r"--c\d+: ", text)) == 2 * len(set(PALETTE))


def test_families_stand_together_in_rows(scored):
    look = looks_of(scored.readings)["random"]
    names = [f"{family}{i}" for i in range(3) for family in "abcdefg"]
    looks = {name: look._replace(family=name[0]) for name in names}
    rows = rows_of(names, looks, most=7, rows=4)
    assert sorted(name for row in rows for name in row) == sorted(names)
    assert all(len(row) <= 9 for row in rows)
    for family in "abcdefg":
        assert sum(any(name[0] == family for name in row) for row in rows) == 1
