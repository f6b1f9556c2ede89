"""Names and reasons that try to be more than text: in a terminal, in Markdown and in CSV."""

from __future__ import annotations

import csv
import re

import pyarrow as pa
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from nasbench_kd.cli.output import print_table
from nasbench_kd.escaping import code, csv_text, from_csv, markdown, printable, table_cell
from nasbench_kd.execution.runs import read_runs, write_runs
from nasbench_kd.report.write import write_report
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
        assert "](" not in bare


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
    assert table_cell("**best** 0.2 [0.1, 0.3]") == "**best** 0.2 [0.1, 0.3]"


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
