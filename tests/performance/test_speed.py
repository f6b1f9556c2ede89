"""The speed gate compares ratios, and does not pass where one was not measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nasbench_kd.errors import GateError
from tests.performance.__main__ import app
from tests.performance.speed import RatioName, Stored, compare_speed, read_ratios, read_results, save_ratios

CLOCK = RatioName("test_clock", "mfhpo-simulator")


def results(path: Path, **extra_info: Any) -> Path:
    benchmarks = [
        {"name": "test_clock", "extra_info": extra_info, "stats": {"min": 0.1}},
        {"name": "test_plain", "extra_info": {}, "stats": {"min": 0.1}},
    ]
    path.write_text(json.dumps({"machine_info": {}, "benchmarks": benchmarks}))
    return path


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    save_ratios(
        results(tmp_path / "then.json", **{"times mfhpo-simulator": 8.0}), tmp_path / "ratios.json", 0.25
    )
    return tmp_path / "ratios.json"


def test_ratios_are_stored_with_the_least_that_later_ones_may_be(stored: Path):
    assert read_ratios(stored) == {CLOCK: Stored(8.0, 6.0)}


def test_ratios_are_stored_as_they_were_measured(tmp_path: Path):
    """The least was rounded to a decimal, so that 3.38 was worse than half of 6.74."""
    ratios = tmp_path / "ratios.json"
    save_ratios(results(tmp_path / "then.json", **{"times mfhpo-simulator": 6.74}), ratios, 0.5)
    made = results(tmp_path / "now.json", **{"times mfhpo-simulator": 3.38})
    assert [each.verdict for each in compare_speed(made, ratios)] == ["kept"]


@pytest.mark.parametrize(("now", "verdict", "code"), [(6.0, "kept", 0), (9.5, "kept", 0), (5.9, "worse", 1)])
def test_a_ratio_below_the_least_is_worse(stored: Path, tmp_path: Path, now: float, verdict: str, code: int):
    made = results(tmp_path / "now.json", **{"times mfhpo-simulator": now})
    [compared] = compare_speed(made, stored)
    assert (compared.name, compared.ratio, compared.verdict) == (CLOCK, now, verdict)
    answer = CliRunner().invoke(app, [str(made), "--ratios", str(stored), "--json"])
    assert (answer.exit_code, json.loads(answer.stdout)[0]["verdict"]) == (code, verdict)


def test_a_ratio_that_is_not_stored_yet_is_shown_as_new(stored: Path, tmp_path: Path):
    made = results(tmp_path / "now.json", **{"times mfhpo-simulator": 8, "times another": 2})
    assert [each.verdict for each in compare_speed(made, stored)] == ["kept", "new"]


def test_a_stored_ratio_that_was_not_measured_does_not_pass(stored: Path, tmp_path: Path):
    made = results(tmp_path / "now.json", **{"times another": 2})
    with pytest.raises(
        GateError, match="lacks 1 of the ratios .*such as test_clock in times mfhpo-simulator"
    ):
        compare_speed(made, stored)
    answer = CliRunner().invoke(app, [str(made), "--ratios", str(stored)])
    assert answer.exit_code == 2


@pytest.mark.parametrize("value", [0, -1, True, "8", None, float("nan"), float("inf")])
def test_what_is_no_ratio_measures_nothing(tmp_path: Path, value: Any):
    with pytest.raises(GateError, match="nothing was measured"):
        read_results(results(tmp_path / "now.json", **{"times x": value}))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "nasbench-kd speed ratios 1", "ratios": {}}'])
def test_a_file_without_ratios_is_refused(tmp_path: Path, text: str):
    (tmp_path / "ratios.json").write_text(text)
    with pytest.raises(GateError):
        read_ratios(tmp_path / "ratios.json")


def test_an_entry_without_numbers_is_named(tmp_path: Path):
    entry = {"ratios": {"test_clock": {"peer": {"measured": 3}}}, "format": "nasbench-kd speed ratios 1"}
    (tmp_path / "ratios.json").write_text(json.dumps(entry))
    with pytest.raises(GateError, match="the entry of 'test_clock' in times 'peer' needs positive numbers"):
        read_ratios(tmp_path / "ratios.json")


def test_the_command_stores_ratios(tmp_path: Path):
    made = results(tmp_path / "now.json", **{"times mfhpo-simulator": 10})
    answer = CliRunner().invoke(app, [str(made), "--ratios", str(tmp_path / "new.json"), "--save"])
    assert answer.exit_code == 0
    assert read_ratios(tmp_path / "new.json") == {CLOCK: Stored(10.0, 5.0)}


def test_the_ratios_of_this_project_name_tests_that_exist():
    folder = Path(__file__).parent
    source = "".join(path.read_text() for path in folder.glob("test_*.py"))
    for name, stored in read_ratios(folder / "ratios.json").items():
        assert f"def {name.test}(" in source
        assert f'"times {name.peer}"' in source
        assert 1 <= stored.at_least <= stored.measured
