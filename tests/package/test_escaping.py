"""Names and reasons that try to be more than text: in a terminal, in Markdown and in CSV."""

from __future__ import annotations

import csv
import json
import re
import shutil
from html.parser import HTMLParser
from itertools import pairwise

import pyarrow as pa
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from typer.testing import CliRunner

from nasbench_kd import Fidelity
from nasbench_kd.cli import app
from nasbench_kd.cli.output import print_table
from nasbench_kd.escaping import Formatted, code, csv_text, from_csv, markdown, printable, table_cell
from nasbench_kd.execution.runs import read_runs, write_runs
from nasbench_kd.report import write_html
from nasbench_kd.report.compare import compare
from nasbench_kd.report.write import write_report
from nasbench_kd.tables.column import Column, make_rows
from nasbench_kd.tables.table import write_table
from tests.report.conftest import make_folder

HOSTILE = "=cmd|\x1b[2J<script>x</script>[a](http://b)`\u202e"


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_left(text):
    shown = printable(text)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\u2066]", shown)
    shown.encode()


@given(st.text())
def test_markdown_has_no_active_characters_left(text):
    for escaped in (markdown(text), table_cell(text)):
        assert "\n" not in escaped
        bare = re.sub(r"\\\\", "", escaped)
        assert not re.search(r"(?<!\\)[<`|]", bare)
        assert not re.search(r"(?<!\\)\]\(", bare)


@given(st.text())
def test_a_code_span_ends_where_it_began(text):
    span = code(text)
    fence = re.match("`+", span)[0]
    assert span.endswith(fence)
    assert fence not in span[len(fence) : -len(fence)].split() or not text.strip()


@given(st.text())
def test_no_field_of_csv_is_a_formula_and_the_text_comes_back(text):
    field = csv_text(text)
    assert not field.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert from_csv(field) == text


def test_ordinary_names_stay_as_they_are():
    for name in ("mf-kd", "regularized-evolution", "my_search", "trade (n=4)", "5 %"):
        assert markdown(name) == table_cell(name) == printable(name) == csv_text(name) == name
    assert table_cell("0.2 [0.1, 0.3]") == "0.2 [0.1, 0.3]"
    assert table_cell(Formatted("**best** 0.2")) == "**best** 0.2"
    assert table_cell("**best** 0.2") == r"\*\*best\*\* 0.2"


def test_tables_on_the_terminal_obey_no_name():
    app = typer.Typer()
    app.command()(lambda: print_table(["name"], [[HOSTILE]]))
    out = CliRunner().invoke(app, []).stdout
    assert "\x1b" not in out
    assert r"\x1b[2J" in out


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A folder of runs whose optimizer `random` has a hostile name and whose failures a hostile reason."""
    plain = make_folder(tmp_path_factory.mktemp("plain"), repetitions=2, tasks=("cifar10",))
    folder = tmp_path_factory.mktemp("hostile")
    stored = read_runs(plain / "runs.parquet")
    table = stored.table
    for column, old, new in (("optimizer", "random", HOSTILE), ("reason", "no luck", HOSTILE)):
        values = [
            text and (new if text == old else text.replace(old, new)) for text in table[column].to_pylist()
        ]
        table = table.set_column(table.schema.get_field_index(column), column, pa.array(values))
    write_runs(folder / "runs.parquet", table, stored.metadata)
    return folder


def test_reports_show_hostile_names_and_reasons_as_text(hostile):
    report = write_report(hostile)
    for text in (report.markdown, (hostile / "leaderboard.csv").read_text()):
        assert not re.search("[\x1b\u202e]", text) or text is not report.markdown
    assert r"\<script>" in report.markdown
    assert not re.search(r"(?<!\\)<script>", report.markdown)
    assert not re.search(r"(?<!\\)\]\(http", report.markdown)
    with (hostile / "leaderboard.csv").open(newline="") as file:
        names = {line["optimizer"] for line in csv.DictReader(file)}
    assert f"'{HOSTILE}" in names


EVERYWHERE = "=x|**b**<img src=x onerror=alert(1)>[a](javascript:b)</script>\x1b[2J"
"""Bold, an element, a link, the end of a script and a control sequence, where a name or a reason is expected."""


def hostile_everywhere(plain, folder):
    """Runs in which every name that is not looked up is `EVERYWHERE`: of suite, optimizers, tables, versions."""
    stored = read_runs(plain / "runs.parquet")
    table, metadata = stored.table, json.loads(json.dumps(dict(stored.metadata)))
    names = {name: f"{name}{EVERYWHERE}" for name in ("random", "hillclimb", "broken")}
    for column in ("optimizer", "reason", "traceback"):
        values = [
            names.get(text, f"{text}{EVERYWHERE}" if text else text) for text in table[column].to_pylist()
        ]
        if column == "optimizer":
            values = [names.get(text, text) for text in table[column].to_pylist()]
        table = table.set_column(table.schema.get_field_index(column), column, pa.array(values))
    metadata["suite"]["name"] += EVERYWHERE
    for entry in metadata["suite"]["optimizers"]:
        entry["name"] = names.get(entry["name"], entry["name"])
        entry["optimizer"] = EVERYWHERE
        entry["arguments"] = {EVERYWHERE: EVERYWHERE}
    metadata["suite"]["ablations"] = [
        {"of": EVERYWHERE, "optimizer": names["random"], "without": names["hillclimb"]}
    ]
    metadata["package_version"] = EVERYWHERE
    write_runs(folder / "runs.parquet", table, metadata)
    return folder


def rendered(text):
    """What Markdown makes of a text: HTML of its own, what its links lead to, and the words that are strong."""
    found = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        children = token.children or []
        found += [
            f"strong {inner.content}"
            for each, inner in pairwise(children)
            if each.type in ("strong_open", "em_open")
        ]
        for each in [token, *children]:
            if each.type in ("html_inline", "html_block"):
                found.append(each.content)
            elif each.type in ("link_open", "image"):
                found.append(each.attrGet("href") or each.attrGet("src"))
    return found


class Elements(HTMLParser):
    """Tags of a page with their attributes, and the text between them."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, {name for name, _ in attrs}, dict(attrs).get("href") or ""))


def test_no_text_of_a_report_is_taken_for_anything_else(tmp_path):
    """Whatever names and reasons say, pages have the elements and links that they have for plain ones."""
    plain = make_folder(tmp_path / "plain", repetitions=2, tasks=("cifar10",))
    folder = hostile_everywhere(plain, tmp_path / "hostile")
    write_report(folder)
    write_html(folder)
    scripts = write_html(plain).read_text().count("</script>")
    wrong = []
    for page in sorted(folder.glob("*.md")):
        text = page.read_text()
        wrong += [
            (page.name, each)
            for each in rendered(text)
            if re.search("^strong b$|^(?!strong ).*(img|javascript|script>)", each)
        ]
        wrong += [(page.name, line) for line in text.splitlines() if "\x1b" in line]
    for page in sorted(folder.glob("*.html")):
        text = page.read_text()
        wrong += [(page.name, line[:300]) for line in text.splitlines() if "\x1b" in line]
        wrong += [
            (page.name, each)
            for each in Elements(text).found
            if "onerror" in each[1] or "javascript" in each[2]
        ]
        assert text.count("</script>") == scripts
    assert not wrong
    for page in folder.glob("*.csv"):
        with page.open(newline="") as file:
            assert not [f for line in csv.reader(file) for f in line if re.match("[=+@]|-[^0-9]", f)], (
                page.name
            )
    for page in folder.glob("*.svg"):
        assert not [each for each in Elements(page.read_text()).found if "onerror" in each[1]], page.name


def test_a_comparison_shows_names_as_text(tmp_path):
    plain = make_folder(tmp_path / "plain", repetitions=2, tasks=("cifar10",))
    folder = hostile_everywhere(plain, tmp_path / "hostile")
    again = shutil.copytree(folder, tmp_path / "again")
    compare(str(folder), str(again), output=tmp_path / "out")
    found = rendered((tmp_path / "out" / "compare.md").read_text())
    assert not [each for each in found if re.search("^strong b$|^(?!strong ).*(img|javascript)", each)]


@pytest.mark.parametrize("command", [["data", "status"], ["data", "status", "--columns"], ["doctor"]])
def test_a_table_with_hostile_names_is_listed_as_text(tmp_path, command):
    folder = tmp_path / "installed"
    rows = make_rows([0, 1, 5], [777] * 3, [5000, 6000, 7000], [10**9] * 3)
    about = {"source": EVERYWHERE, "license": EVERYWHERE, "method": EVERYWHERE}
    columns = [Column("cifar10", Fidelity.parse("none@200"), "valid", 10_000, rows, about)]
    write_table(folder, f"x{EVERYWHERE}", columns, {"title": EVERYWHERE, "license": EVERYWHERE})
    done = CliRunner().invoke(app, command, env={"NASBENCH_KD_DATA": str(tmp_path)})
    assert "\x1b" not in done.output
    assert "onerror" in done.output or command == ["doctor"], done.output
