"""The documentation names modules, files and commands that exist."""

from __future__ import annotations

import importlib
import re
from itertools import pairwise
from pathlib import Path

import pytest

from nasbench_kd.cli import app
from tests.conftest import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("reports/**/*.md")])
IMPORT = re.compile(r"^\s*from (nasbench_kd[\w.]*) import ([\w, ]+)$", re.MULTILINE)
DOTTED = re.compile(r"`(nasbench_kd(?:_baselines)?(?:\.\w+)+)`")
FILE = re.compile(r"`((?:nasbench_kd|baselines|tests|suites|docs|reports)/[\w./-]+)`")
COMMAND = re.compile(r"^(?:\$ )?nasbench-kd ([a-z][a-z-]*)", re.MULTILINE)


def found(pattern: re.Pattern[str], *, without: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    pages = [page for page in PAGES if page.name not in without]
    texts = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in pages}
    hits = {(name, *match.groups()) for name, text in texts.items() for match in pattern.finditer(text)}
    return sorted(hits)


def resolve(dotted: str) -> object:
    """A module, or what is found in one."""
    module, rest = dotted, []
    while True:
        try:
            value: object = importlib.import_module(module)
            break
        except ModuleNotFoundError as error:
            if error.name is None or not dotted.startswith(error.name):
                pytest.skip(f"{error.name} is not installed")
            module, _, last = module.rpartition(".")
            rest.insert(0, last)
    for name in rest:
        value = getattr(value, name)
    return value


@pytest.mark.parametrize(("page", "module", "names"), found(IMPORT))
def test_imports_of_examples_exist(page: str, module: str, names: str):
    for name in names.split(","):
        resolve(f"{module}.{name.strip()}")


@pytest.mark.parametrize(("page", "dotted"), found(DOTTED))
def test_modules_and_their_contents_exist(page: str, dotted: str):
    if dotted != "nasbench_kd.optimizers":  # a group of entry points
        resolve(dotted)


@pytest.mark.parametrize(("page", "file"), found(FILE, without=("CHANGELOG.md",)))
def test_files_exist(page: str, file: str):
    if "/my_" in file or file.startswith(("reports/quick", "suites/mine")):  # yours
        return
    file = file.replace("TASK", "cifar10")
    assert (ROOT / file).exists() or (ROOT / Path(page).parent / file).exists()


@pytest.mark.parametrize(("page", "command"), found(COMMAND))
def test_commands_exist(page: str, command: str):
    commands = {each.name for each in app.registered_commands} | {each.name for each in app.registered_groups}
    assert command in commands


def examples() -> list[str]:
    """The commands that the help of commands shows."""
    groups = [app, *(group.typer_instance for group in app.registered_groups)]
    texts = [each.callback.__doc__ or "" for group in groups for each in group.registered_commands]
    return [
        line.strip() for text in texts for line in text.splitlines() if line.startswith("    nasbench-kd ")
    ]


def test_examples_of_the_help_name_what_a_clone_and_the_published_runs_hold():
    """Folders of results are committed, or the example of `run --add` makes them; no suite is named by its file."""
    named = []
    for example in examples():
        words = example.split()
        for before, word in pairwise(words):
            assert not word.startswith("suites/"), example
            if word.startswith("reports/") and before not in ("--output", "--into"):
                named.append(word.partition(":")[0])
    assert "reports/standard" in named
    assert [
        name for name in named if not ((ROOT / name).exists() or name.startswith("reports/kd-Mine"))
    ] == []
