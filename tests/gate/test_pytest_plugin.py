"""The pytest plugin holds optimizers to their references, and is inert where nobody uses it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nasbench_kd.execution.suite import parse_suite
from nasbench_kd.gate.pytest_plugin import MARKER, SearchGate
from nasbench_kd.gate.reference import save_reference
from tests.changing_optimizer import BEHAVIOUR

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
PLUGIN = ("-p", "nasbench_kd.gate.pytest_plugin", "-p", "no:cacheprovider")
SUITE = """
name = "plugged"
tasks = ["cifar10"]
budgets = ["10 evaluations"]
seeds = 10
[gate]
rope = 0.2
first_stage = 10
largest_loss = 0.2
[[optimizers]]
name = "steady"
optimizer = "nasbench_kd_baselines.random_search:RandomSearch"
[[optimizers]]
name = "changing"
optimizer = "tests.changing_optimizer:Changing"
"""


@pytest.fixture
def _project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    (pytester.path / "suites").mkdir()
    (pytester.path / "suites" / "plugged.toml").write_text(SUITE)


@pytest.mark.usefixtures("_project")
def test_marker_and_fixture_pass_fail_and_explain(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    reference = pytester.path / "suites" / "reference" / "plugged" / "main.parquet"
    save_reference(parse_suite(SUITE), reference, jobs=1)
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.search_gate("suites/plugged.toml", "main", optimizer="steady", jobs=1)
        def test_steady():
            pass

        @pytest.mark.search_gate("suites/plugged.toml", "suites/reference/plugged/main.parquet", optimizer="changing")
        def test_changed():
            raise AssertionError("the body runs after the gate")

        def test_fixture(search_gate):
            result = search_gate("suites/plugged.toml", "main", optimizer=["steady"], task="cifar10", jobs=1)
            assert result.counts["equivalent"] == len(result.comparisons) == 1

        def test_old_name_of_the_argument(search_gate):
            with pytest.warns(UserWarning, match="is now `reference`"):
                search_gate("suites/plugged.toml", baseline="main", optimizer="steady", jobs=1)

        def test_nothing_named(search_gate):
            search_gate("suites/plugged.toml")

        def test_without_reference(search_gate):
            search_gate("suites/plugged.toml", "absent")
        """
    )
    monkeypatch.setenv(BEHAVIOUR, "fails")
    result = pytester.runpytest_subprocess(*PLUGIN, "--strict-markers")
    result.assert_outcomes(passed=3, failed=3)
    result.stdout.fnmatch_lines(["*changing on cifar10 at 10 evaluations is worse*10 of 10 runs failed*"])
    result.stdout.fnmatch_lines(["*the gate could not compare: no reference 'absent'*"])
    result.stdout.fnmatch_lines(["*name the reference that the gate compares with*"])
    assert "the body runs after the gate" not in result.stdout.str()


@pytest.mark.usefixtures("_project")
def test_the_plugin_is_inert_where_nobody_uses_it(pytester: pytest.Pytester):
    pytester.makepyfile(
        """
        import sys

        def test_nothing_heavy_is_loaded():
            heavy = {"torch", "pandas", "matplotlib", "scipy", "pyarrow", "rich", "typer"}
            assert "nasbench_kd.gate.pytest_plugin" in sys.modules
            assert not heavy & set(sys.modules)
            assert not {"nasbench_kd.gate.gate", "nasbench_kd.execution.suite"} & set(sys.modules)
            assert "nasbench_kd.execution.study" not in sys.modules
        """
    )
    result = pytester.runpytest_subprocess(*PLUGIN, "-p", "no:hypothesispytest", "-p", "no:benchmark")
    result.assert_outcomes(passed=1)


@pytest.mark.usefixtures("_project")
def test_the_marker_is_listed(pytester: pytest.Pytester):
    result = pytester.runpytest_subprocess(*PLUGIN, "--markers")
    result.stdout.fnmatch_lines([f"@pytest.mark.{MARKER}(suite, reference,*"])


def test_names_stay_names_and_paths_start_at_the_root(tmp_path: Path):
    (tmp_path / "suites").mkdir()
    gate = SearchGate(tmp_path)
    assert gate._located("main") == "main"
    assert gate._located("suites") == tmp_path / "suites"
