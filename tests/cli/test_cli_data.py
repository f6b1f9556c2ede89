"""The commands that add, examine and export data."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nasbench_kd.cli import app

ROOT = Path(__file__).parents[2]


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """Run a command with a user folder of its own; returns exit code, stdout and stderr."""
    monkeypatch.setenv("NASBENCH_KD_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> tuple[int, str, str]:
        result = CliRunner().invoke(app, list(arguments))
        return result.exit_code, result.stdout, result.stderr

    return run


def test_help_of_every_command_shows_an_example(ask):
    for command in (
        ["data", "pull"],
        ["data", "import"],
        ["doctor"],
        ["explain"],
        ["landscape"],
        ["export", "optuna"],
    ):
        code, out, _ = ask(*command, "--help")
        assert code == 0
        assert f"nasbench-kd {' '.join(command)}" in out


def test_pull_lists_installs_and_says_what_is_there(ask, reference, tmp_path):
    code, out, _ = ask("data", "pull", "--list")
    assert code == 0
    assert "nats-bench-test" in out
    assert not (tmp_path / "data").exists()
    mirror = str(reference / "mirror")
    code, out, _ = ask("data", "pull", "nats-bench-test", "--mirror", mirror)
    assert (code, out) == (0, f"nats-bench-test: installed in {tmp_path / 'data' / 'nats-bench-test'}\n")
    code, out, _ = ask("data", "pull", "nats-bench-test", "--mirror", mirror)
    assert "is installed" in out
    code, out, _ = ask("data", "status", "--json")
    shown = json.loads(out)
    places = {table["name"]: table["location"] for table in shown["tables"]}
    assert (places["nas-bench-201"], places["nats-bench-test"]) == ("embedded", "installed")
    assert shown["hardware"] is None
    ask("data", "pull", "hw-nas-bench", "--mirror", mirror)
    assert "hw-nas-bench (installed): 10 hardware costs of every cell" in ask("data", "status")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data", "pull", "nats-bench-tests"], "Did you mean 'nats-bench-test'"),
        (["data", "pull", "nats-bench-test", "--mirror", "/nowhere"], "Nothing was installed"),
        (["data", "import", "/nowhere/at/all"], "cannot be read"),
        (["doctor", "/nowhere/at/all"], "cannot be read"),
        (["explain", "99999"], "no cell has the index 99999"),
        (["explain", "|none~0|"], "not a cell string"),
        (["export", "optuna", "x.py", "--task", "cifar"], "Did you mean 'cifar10"),
        (["export", "syne-tune", "x", "--training", "kd@9"], "no entries at the fidelity 'kd@9'"),
    ],
)
def test_bad_input_exits_with_2_and_a_message(ask, arguments, message):
    code, _, err = ask(*arguments)
    assert (code, message in err) == (2, True), err


def test_doctor_is_content_and_exits_with_1_where_it_is_not(ask, tmp_path):
    code, out, _ = ask("doctor")
    assert code == 0
    assert "no problems found" in out
    from nasbench_kd.tables.catalog import EMBEDDED_FOLDER
    from nasbench_kd.tables.table import Table, write_table

    table = Table.open(EMBEDDED_FOLDER / "nas_bench_201")
    wrong = [
        type(column)("cifar100", column.fidelity, "valid", column.images, column.rows, column.provenance)
        for column in table.columns
        if column.task == "cifar10"
    ]
    write_table(tmp_path / "wrong", "wrong", wrong, {})
    code, out, _ = ask("doctor", str(tmp_path / "wrong"), "--json")
    assert code == 1
    assert any(finding["level"] == "problem" for finding in json.loads(out))


def test_explain_prints_and_draws(ask, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the extra report")
    code, out, _ = ask("explain", "6111", "--figure", str(tmp_path / "cell.png"))
    assert code == 0
    assert "1 of 15,625" in out
    assert (tmp_path / "cell.png").stat().st_size > 10_000
    assert (tmp_path / "cell.svg").is_file()


def test_export_writes_a_script_that_runs(ask, tmp_path, capsys):
    pytest.importorskip("optuna", reason="needs the extra search")
    script = tmp_path / "search.py"
    assert ask("export", "optuna", str(script), "--task", "cifar100")[0] == 0
    text = script.read_text()
    script.write_text(text.replace("n_trials=100", "n_trials=3"))
    runpy.run_path(str(script))
    assert "GPU-hours" in capsys.readouterr().out
    assert ask("export", "optuna", str(script), "--task", "cifar100")[0] == 2


def test_export_and_import_and_their_folders(ask, tmp_path):
    code, out, _ = ask("export", "syne-tune", str(tmp_path / "box"), "--task", "cifar100")
    assert (code, out) == (0, f"{tmp_path / 'box'}: 1 tasks, 15625 cells, 2 seeds, 1 epochs\n")
    code, _, err = ask("data", "import", str(tmp_path / "box"))
    assert code == 2
    assert "not Syne Tune's nasbench201 blackbox" in err
    shutil.rmtree(tmp_path / "box")


def test_import_says_what_it_streams_and_what_it_left_out(ask, tmp_path):
    utilities = pytest.importorskip("nats_bench.api_utils", reason="needs the package nats-bench")
    from nasbench_kd import Cell
    from tests.sources.official import build, whole_file

    utilities.pickle_save(whole_file(build([Cell.from_index(0)], utilities)), tmp_path / "small.pickle")
    code, out, err = ask("data", "import", str(tmp_path / "small.pickle.pbz2"), "--no-curves")
    assert code == 0, err
    assert "one architecture at a time" in err
    assert "mixes validation and test images" in out
    assert (Path(tmp_path) / "data" / "small" / "card.json").is_file()


@pytest.mark.parametrize("command", ["explain 6111", "landscape figures"])
def test_a_missing_package_is_named_with_its_extra(command, tmp_path):
    """In a process without scipy, as after an install without extras."""
    code = (
        "import sys; sys.modules['scipy'] = None; from nasbench_kd.cli import app; "
        f"app({command.split()!r}, prog_name='nasbench-kd')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, "nasbench-kd[report]" in done.stderr) == (2, True), done.stderr
