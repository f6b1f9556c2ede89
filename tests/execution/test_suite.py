"""Suites are read as written, and whatever is wrong with one is said before anything runs."""

from __future__ import annotations

import json
import tomllib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nasbench_kd.errors import SuiteError, UnknownNameError
from nasbench_kd.execution.ablations import Ablation
from nasbench_kd.execution.study import plan
from nasbench_kd.execution.suite import check_optimizers, load_suite, parse_suite, shipped_suites
from nasbench_kd.simulation.registry import registered

MINIMAL = """
name = "mine"
tasks = ["cifar10"]
budgets = ["20 evaluations"]
seeds = 3
[[optimizers]]
optimizer = "random"
"""
FULL = """
name = "full"
tasks = ["imagenet16-120", "cifar10"]
budgets = ["10 gpu-hours", "3600 seconds"]
seeds = 2
workers = 4
data = "installed"
bill_teacher = false
wall_clock_cap = "90 seconds"
paired_seeds = true
[[optimizers]]
optimizer = "random"
[[optimizers]]
name = "cheap random"
optimizer = "nasbench_kd_baselines.random_search:RandomSearch"
arguments = { fidelity = "none@12" }
bill_teacher = true
[[ablations]]
of = "full training"
optimizer = "random"
without = "cheap random"
"""


def test_minimal_suite_has_the_documented_defaults() -> None:
    suite = parse_suite(MINIMAL)
    assert (suite.workers, suite.data, suite.bill_teacher, suite.cap_seconds) == (1, "embedded", True, 600.0)
    assert [(entry.name, entry.optimizer, dict(entry.arguments)) for entry in suite.optimizers] == [
        ("random", "random", {})
    ]
    assert suite.runs == 3
    assert not suite.paired_seeds
    assert suite.ablations == ()
    assert suite.bills_teacher(suite.optimizers[0])
    assert suite.describe()["optimizers"] == [{"name": "random", "optimizer": "random", "arguments": {}}]
    assert not {"paired_seeds", "ablations"} & set(suite.describe())
    assert suite.optimizers[0].ranked
    assert "given" not in {**suite.describe(), **suite.describe()["optimizers"][0]}
    assert "ranked" not in suite.describe()["optimizers"][0]


def test_full_suite_keeps_every_value_and_sorts_the_budgets() -> None:
    suite = parse_suite(FULL)
    assert suite.tasks == ("imagenet16-120", "cifar10")
    assert [str(budget) for budget in suite.budgets] == ["3600 seconds", "10 gpu-hours"]
    assert suite.largest_budget.amount == 36_000_000_000
    assert (suite.workers, suite.data, suite.bill_teacher, suite.cap_seconds) == (4, "installed", False, 90.0)
    assert suite.optimizers[1].name == "cheap random"
    assert suite.optimizers[1].arguments == {"fidelity": "none@12"}
    assert suite.runs == 8
    described = json.loads(json.dumps(suite.describe()))
    assert described["optimizers"][1]["arguments"] == {"fidelity": "none@12"}
    assert [suite.bills_teacher(entry) for entry in suite.optimizers] == [False, True]
    assert "bill_teacher" not in described["optimizers"][0]
    assert described["optimizers"][1]["bill_teacher"] is True
    assert described["paired_seeds"] is True
    assert suite.ablations == (Ablation("full training", "random", "cheap random"),)
    assert described["ablations"] == [
        {"of": "full training", "optimizer": "random", "without": "cheap random"}
    ]


def test_a_suite_says_which_prerequisites_are_given_and_an_entry_may_say_otherwise() -> None:
    suite = parse_suite(
        FULL.replace("workers = 4", 'given = ["teacher"]').replace("bill_teacher = true", "given = []")
    )
    assert [suite.given_to(entry) for entry in suite.optimizers] == [("teacher",), ()]
    described = json.loads(json.dumps(suite.describe()))
    assert (described["given"], described["optimizers"][1]["given"]) == (["teacher"], [])
    assert [job.conditions.given for job in plan(suite)[:2]] == [("teacher",), ()]
    assert ["given" in job.conditions.description for job in plan(suite)[:2]] == [True, False]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("seeds = 3", "seed = 3", "unknown key 'seed'.*Did you mean 'seeds'"),
        ("optimizer =", "optimiser =", "entry 1: unknown key 'optimiser'.*Did you mean 'optimizer'"),
        ('"cifar10"', '"cifar-10"', "tasks: unknown 'cifar-10'.*Did you mean 'cifar10'"),
        (
            '"cifar10"',
            '"toy-letters"',
            "unknown 'toy-letters'.*A task of another package is there where that",
        ),
        ('"cifar10"', '"cifar10", "cifar10"', "'cifar10' stands there twice"),
        ('"20 evaluations"', '"20 evaluatons"', "budgets: unknown unit.*Did you mean 'evaluations'"),
        ('"20 evaluations"', '"20 evaluations", "1 gpu-hours"', "do not mix"),
        ('"20 evaluations"', '"60 seconds", "1 minutes"', "the same amount"),
        ('"20 evaluations"', "", "at least one budget"),
        ('["20 evaluations"]', '"20 evaluations"', "expected a list of at least one budget"),
        ("seeds = 3", "seeds = 0", "whole number from 1 to"),
        ("seeds = 3", "seeds = true", "whole number from 1 to"),
        ("seeds = 3", "seeds = 3.0", "whole number from 1 to"),
        ("seeds = 3", "", "the key 'seeds' is missing"),
        ("seeds = 3", 'seeds = 3\ndata = "instaled"', "Did you mean 'installed'"),
        ("seeds = 3", "seeds = 3\nbill_teacher = 1", "expected true or false"),
        ("seeds = 3", 'seeds = 3\ngiven = "teacher"', "given: expected a list"),
        ("seeds = 3", 'seeds = 3\ngiven = ["teachr"]', "no prerequisite 'teachr'.*Did you mean 'teacher'"),
        (
            'optimizer = "random"',
            'optimizer = "random"\ngiven = ["encoder"]',
            "optimizer 'random', given: cifar10 has no",
        ),
        ("seeds = 3", "seeds = 3\nworkers = -1", "workers: expected a whole number"),
        ("seeds = 3", 'seeds = 3\nwall_clock_cap = "3 evaluations"', "expected a real time"),
        ("seeds = 3", 'seeds = 3\nwall_clock_cap = "3 gpu-hours"', "expected a real time"),
        ('name = "mine"', 'name = "../mine"', "name: expected a name of letters"),
        ('optimizer = "random"', "", "entry 1: the key 'optimizer' is missing"),
        (
            'optimizer = "random"',
            'optimizer = "random"\narguments = 3',
            "entry 1, arguments: expected a table",
        ),
        (
            'optimizer = "random"',
            'optimizer = "random"\narguments = {a = 1979-05-27}',
            "expected text, finite",
        ),
        ('optimizer = "random"', 'optimizer = "random"\narguments = {a = nan}', "expected text, finite"),
        ("[[optimizers]]", "[optimizers]", "at least one \\[\\[optimizers\\]\\]"),
        ('name = "mine"', "name = ", "not valid TOML"),
        ('name = "mine"', "name = " + "[" * 5000, "not valid TOML"),
    ],
)
def test_mistakes_are_named_with_place_and_remedy(old: str, new: str, expected: str) -> None:
    assert old in MINIMAL
    with pytest.raises(SuiteError, match=expected):
        parse_suite(MINIMAL.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('without = "cheap random"', 'without = "cheap randm"', "no optimizer 'cheap randm'.*'cheap random'"),
        ('without = "cheap random"', 'without = "random"', "'random' is compared with itself"),
        ('without = "cheap random"', "", "ablations: entry 1: the key 'without' is missing"),
        ("without =", "wihout =", "unknown key 'wihout'.*Did you mean 'without'"),
        ('of = "full training"', "of = 3", "of: expected one line of text"),
        ("[[ablations]]", "[ablations]", r"expected \[\[ablations\]\] tables"),
        ("paired_seeds = true", "paired_seeds = 1", "paired_seeds: expected true or false"),
        ("bill_teacher = true", "bill_teacher = 1", "entry 2, bill_teacher: expected true or false"),
        ("bill_teacher = true", "ranked = 1", "entry 2, ranked: expected true or false"),
    ],
)
def test_mistakes_in_ablations_are_named(old: str, new: str, expected: str) -> None:
    assert old in FULL
    with pytest.raises(SuiteError, match=expected):
        parse_suite(FULL.replace(old, new))


def test_an_ablation_that_stands_there_twice_is_refused() -> None:
    again = FULL[FULL.index("[[ablations]]") :]
    with pytest.raises(SuiteError, match="'random' against 'cheap random' stands there twice"):
        parse_suite(FULL + again)


def test_two_entries_of_one_name_are_refused() -> None:
    with pytest.raises(SuiteError, match=r"two entries are named 'random'"):
        parse_suite(MINIMAL + '[[optimizers]]\noptimizer = "random"\n')


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ('optimizer = "randm"', "Did you mean 'random'"),
        ('optimizer = "no_such_module:Thing"', "cannot be imported"),
        ('optimizer = "baselines.asha:ASHA"', "Did you mean 'nasbench_kd_baselines.asha:ASHA'"),
        ('optimizer = "json:dumps"', "not a subclass"),
        ('optimizer = "random"\narguments = { fidelty = "none@200" }', "Did you mean 'fidelity'"),
        (
            'optimizer = "hostile_optimizers:Refuses"\narguments = { population = 1 }',
            "refuses the arguments .*population.*ValueError: population must be at least 2",
        ),
    ],
)
def test_optimizers_are_checked_before_anything_runs(entry: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MINIMAL.replace('optimizer = "random"', entry))
    with pytest.raises(SuiteError, match=expected):
        load_suite(path)


def test_a_module_that_fails_to_import_is_a_suite_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_plugin.py").write_text("raise ZeroDivisionError('at import')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    suite = parse_suite(MINIMAL.replace('"random"', '"broken_plugin:Search"'))
    with pytest.raises(SuiteError, match=r"importing it raised ZeroDivisionError: at import"):
        check_optimizers(suite)


PRIMARY = """
[primary]
optimizer = "random"
against = "local-search"
task = "cifar10"
budget = "10 evaluations"
"""


def test_a_primary_comparison_is_of_the_suite(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    text = MINIMAL + '[[optimizers]]\noptimizer = "local-search"\n'
    budget = parse_suite(text).budgets[-1]
    stated = PRIMARY.replace("cifar10", parse_suite(text).tasks[0]).replace("10 evaluations", str(budget))
    path.write_text(text + stated)
    described = load_suite(path).describe()["primary"]
    assert (described["optimizer"], described["against"]) == ("random", "local-search")
    for before, after, complaint in (
        (
            '"local-search"\ntask',
            '"local-serch"\ntask',
            "no optimizer 'local-serch'.*Did you mean 'local-search'",
        ),
        (f'budget = "{budget}"\n', 'budget = "3 evaluations"\n', "no budget '3 evaluations'"),
        ('"local-search"\ntask', '"random"\ntask', "compared with itself"),
        ("against", "other", "other"),
    ):
        with pytest.raises(SuiteError, match=complaint):
            parse_suite(text + stated.replace(before, after))


def test_what_works_through_a_plan_says_so_in_the_stored_suite(tmp_path: Path) -> None:
    """Successive halving read at a tenth of its budget is not successive halving at that budget."""
    path = tmp_path / "mine.toml"
    entries = "".join(
        f'[[optimizers]]\noptimizer = "{name}"\n'
        for name in ("successive-halving", "hyperband", "bohb", "rank-nosh", "asha")
    )
    path.write_text(MINIMAL + entries)
    described = load_suite(path).describe()["optimizers"]
    assert {entry["name"]: entry.get("anytime", True) for entry in described} == {
        "random": True,
        "successive-halving": False,
        "hyperband": False,
        "bohb": False,
        "rank-nosh": False,
        "asha": True,
    }


def test_a_suite_is_found_by_path_or_by_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MINIMAL)
    assert load_suite(path) == load_suite(str(path))
    assert load_suite("quick").name == "quick"
    with pytest.raises(
        UnknownNameError, match=r"neither a file nor one of the shipped suites.*Did you mean 'quick'"
    ):
        load_suite("quik")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SuiteError, match=r"cannot be read"):
        load_suite(path)


@pytest.mark.parametrize("name", shipped_suites())
def test_shipped_suites_are_sound_and_name_registered_optimizers(name: str) -> None:
    suite = load_suite(name)
    assert suite.name == name
    assert {entry.optimizer for entry in suite.optimizers} <= set(registered())


@given(st.text(max_size=200))
@example("seeds = " + "9" * 5000)
@example("a." * 2000 + "b = 1")
def test_any_text_is_a_suite_or_a_typed_error(text: str) -> None:
    with suppress(SuiteError):
        parse_suite(text)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300)
@given(key=st.sampled_from([*tomllib.loads(FULL), "other"]), value=_VALUES)
def test_any_value_of_any_key_is_read_or_a_typed_error(key: str, value: object) -> None:
    """Values come as TOML would deliver them; `None` stands for a key that is absent."""
    from nasbench_kd.execution import suite as room
    from nasbench_kd.toml_values import read_table

    document = {**tomllib.loads(FULL), key: value}
    if value is None:
        del document[key]
    try:
        read = read_table(room.Suite, document, room._SUITE_KEYS, "the suite")
    except SuiteError:
        return
    assert read.describe()["name"] == read.name


@settings(max_examples=300)
@given(place=st.integers(0, len(FULL) - 1), letter=st.characters())
def test_a_suite_with_one_letter_changed_is_read_or_a_typed_error(place: int, letter: str) -> None:
    with suppress(SuiteError):
        parse_suite(FULL[:place] + letter + FULL[place + 1 :])
