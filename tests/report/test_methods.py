"""Leaderboards say which arguments are not a method's defaults, and what a method rests on."""

from __future__ import annotations

from nasbench_kd.report.methods import markdown, rows
from nasbench_kd.report.provenance import StoredOptimizer


def entry(name, optimizer, **arguments):
    return StoredOptimizer(name, optimizer, arguments, bill_teacher=True, ranked=True, anytime=True)


def test_arguments_that_are_not_defaults_are_shown_with_the_basis():
    found = rows(
        [
            entry("ours", "bananas", batch=40, epochs=150),
            entry("full", "nasbench_kd_baselines.trade:Trade", fidelity="none@200"),
            entry("parameters", "parameters"),
        ]
    )
    assert found == [
        ("ours", "bananas", "batch = 40", ""),
        ("full", "nasbench_kd_baselines.trade:Trade", "fidelity = 'none@200'", "after the abstract"),
        ("parameters", "parameters", "", "control"),
    ]


def test_a_foreign_class_is_not_imported_and_shows_all_its_arguments():
    found = rows(
        [entry("mine", "module_that_is_not_there:Mine", population=10), entry("old", "no-such-name")]
    )
    assert found == [
        ("mine", "module_that_is_not_there:Mine", "population = 10", ""),
        ("old", "no-such-name", "", ""),
    ]
    assert "population = 10" in markdown([entry("mine", "a:B", population=10)])
