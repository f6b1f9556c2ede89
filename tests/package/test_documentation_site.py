"""The site builds strictly, its code runs, its notebooks run, and its commands have the options that it names."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer

from nasbench_kd.cli import app
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]
NOT_RUN = {
    "import optuna": "run by tests/adapters/test_export.py",
    "from syne_tune": "run by tests/adapters/test_export.py",
    "search_gate": "a test of a reader's, with a reference of his; run by tests/gate/test_pytest_plugin.py",
    "Laboratory(": "needs the images of CIFAR-10",
    "write_packed(": "a reader's images",
    "import torch": "needs the extra `live`; run by tests/live/test_zero_cost.py",
    "class TestMyMethod": "a reader's method",
}


def blocks(language: str) -> list[tuple[str, str]]:
    return [
        (f"{page.name}-{number}", code)
        for page in PAGES
        for number, code in enumerate(
            re.findall(rf"^ *```{language}\n(.*?)^ *```$", page.read_text(), re.DOTALL | re.MULTILINE)
        )
    ]


def inside(code: str) -> str:
    """A block that stands in a list, without its indentation."""
    lines = code.split("\n")
    margin = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
    return "\n".join(line[margin:] for line in lines)


@pytest.mark.parametrize("page", sorted({place.rpartition("-")[0] for place, _ in blocks("python")}))
def test_python_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The blocks of a page run one after the other: a later one uses what an earlier one has made, files too."""
    pytest.importorskip("matplotlib")
    pytest.importorskip("ConfigSpace")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    made: dict[str, object] = {"__name__": page, "__file__": str(tmp_path / "mine.py")}
    for place, code in blocks("python"):
        if place.rpartition("-")[0] != page:
            continue
        compiled = compile(inside(code), place, "exec")
        if named := re.match(r"# ([\w/]+\.py)\n", code):
            (tmp_path / named[1]).parent.mkdir(exist_ok=True)
            (tmp_path / named[1]).write_text(code)
        if not any(mark in code for mark in NOT_RUN):
            exec(compiled, made)
    for path in tmp_path.iterdir():
        sys.modules.pop(path.stem, None)


@pytest.mark.parametrize(("place", "code"), blocks("toml"))
def test_toml_is_read(place: str, code: str):
    tomllib.loads(inside(code))


def commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for block in re.findall(
            r"^```(?:sh|bash|console)?\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE
        ):
            joined = block.replace("\\\n", " ")
            found += [
                (page.name, line.split("#")[0].removeprefix("$ ").strip())
                for line in joined.splitlines()
                if line.removeprefix("$ ").startswith("nasbench-kd ")
            ]
    return found


@pytest.mark.parametrize(("page", "line"), commands())
def test_commands_have_the_options_that_are_named(page: str, line: str):
    words = shlex.split(line)[1:]
    command = typer.main.get_command(app)
    context = command.make_context("nasbench-kd", [], resilient_parsing=True)
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        command = command.get_command(context, words.pop(0))
        assert command is not None, line
    known = {
        name
        for parameter in command.get_params(context)
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    asked = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert asked <= known, line


@pytest.mark.parametrize("name", ["landscape", "add-a-method"])
def test_notebooks_run(name: str, tmp_path: Path):
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(ROOT / "docs" / "notebooks" / f"{name}.ipynb", as_version=4)
    assert not [cell for cell in notebook.cells if cell.get("outputs")]  # stored without outputs
    client.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    texts = [str(output) for cell in notebook.cells for output in cell.get("outputs", ())]
    assert any("image/png" in text for text in texts)


def test_the_site_builds_strictly(tmp_path: Path):
    pytest.importorskip("mkdocs_jupyter")
    nbconvert = pytest.importorskip("nbconvert")
    pytest.importorskip("mkdocstrings")
    subprocess.run([sys.executable, "docs/gather.py"], cwd=ROOT, check=True, capture_output=True)
    templates = Path(nbconvert.__file__).parents[4] / "share" / "jupyter"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mkdocs",
            "build",
            "--strict",
            "--quiet",
            "--site-dir",
            str(tmp_path / "site"),
        ],
        cwd=ROOT,
        env={**os.environ, "JUPYTER_PATH": str(templates)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    reference = (tmp_path / "site" / "docs" / "api" / "benchmark" / "index.html").read_text()
    assert "Return the entry of a cell at a fidelity" in reference
