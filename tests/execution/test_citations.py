"""Every method and table has a work to cite, each with a place where it is found, and LaTeX can read the file."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib import resources

import pytest
from typer.testing import CliRunner

from nasbench_kd.cli import app
from nasbench_kd.execution.citations import citations
from nasbench_kd.simulation.registry import optimizer_class
from nasbench_kd.tables.catalog import tables

KD_FAMILIES = {"li2018hyperband", "trofimov2023mfkd", "kim2022trade", "wang2021ranknosh", "falkner2018bohb"}


def test_every_method_of_a_paper_has_a_work_with_a_place():
    found = citations()
    assert [name for name in found.unknown if optimizer_class(name).paper] == []
    for key, entry in found.entries.items():
        if key != "nasbenchkd":
            assert re.search(r"^  (doi|eprint|url) = \{\S+\},?$", entry, re.MULTILINE), entry
        assert "keywords" not in entry
        assert entry.count("{") == entry.count("}")


def test_every_shipped_table_rests_on_a_work():
    found = citations(["a:B"])
    assert found.unknown == ("a:B",)
    assert {"dong2020nasbench201", "dong2021natsbench", "trofimov2023mfkd"} < set(found.entries)
    text = (resources.files("nasbench_kd") / "references.bib").read_text()
    said = {name for line in re.findall(r"keywords = \{(.*)\}", text) for name in line.split(", ")}
    attributed = {table.name for table in tables("embedded") if table.card.get("attribution")}
    assert attributed - {"nas-bench-201-12-epochs"} <= said  # whose repackaging is no publication
    status = json.loads(CliRunner().invoke(app, ["data", "status", "--json"]).stdout)
    cited = {table["name"]: table["cite"] for table in status["tables"]}
    assert "dong2020nasbench201 (arXiv:2001.00326)" in cited["nas-bench-201"]
    assert "trofimov2023mfkd (doi:10.1109/ACCESS.2023.3234810)" in cited["mf-kd-authors"]


def test_a_suite_is_cited_with_its_own_methods_only():
    told = set(citations(["regularized-evolution", "random"]).entries)
    assert "real2019regularized" in told
    assert "trofimov2023mfkd" in told  # the table of its authors ships
    assert not {"falkner2018bohb", "kim2022trade"} & told


def test_the_command_prints_bibtex():
    result = CliRunner().invoke(app, ["cite", "kd"])
    assert result.exit_code == 0
    assert set(re.findall(r"^@\w+\{([^,]+),", result.stdout, re.MULTILINE)) >= KD_FAMILIES
    assert CliRunner().invoke(app, ["cite", "kdd"]).exit_code == 2


def test_bibtex_reads_it(tmp_path):
    if not shutil.which("bibtex"):
        pytest.skip("BibTeX is not installed")
    (tmp_path / "all.bib").write_text("\n\n".join(citations().entries.values()))
    (tmp_path / "x.aux").write_text("\\citation{*}\n\\bibstyle{plain}\n\\bibdata{all}\n")
    done = subprocess.run(["bibtex", "x"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "error" not in done.stdout.lower()
    assert (tmp_path / "x.bbl").read_text().count("\\bibitem") == len(citations().entries)


def test_tasks_with_tables_of_their_own_are_cited_with_them():
    works = {"wei2024autoprox", "dong2023diswot"}
    assert works < set(citations().entries)
    assert works & set(citations(["random"], tasks=["kd-resnet"]).entries) == {"dong2023diswot"}
    assert not works & set(citations(["random"], tasks=["cifar10"]).entries)
